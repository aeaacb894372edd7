"""Packaging of pal_plugin.

salesforce-lavis is deliberately absent: its metadata pins transformers<4.27 and no resolver accepts
that beside today's transformers. It is installed without its dependencies (see README, "Set-up");
what it imports is the extra `lavis`.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (ROOT / "pal_plugin" / "version.py").read_text("utf-8")
).group(1)

CORE = [
    "torch>=2.6,<2.12",  # torchaudio ends at 2.11 and must match torch
    "torchaudio>=2.6,<2.12",
    "transformers>=4.57,<6",
    "tokenizers>=0.22",
    "huggingface-hub>=0.34",
    "packaging>=23",
    "safetensors>=0.5",
    "peft>=0.18",
    "gguf>=0.10",  # by which transformers reads GGUF files
    "timm>=1.0.20",
    "omegaconf>=2.3",
    "webdataset>=1.0.2,<2",
    "soundfile>=0.13",
    "numpy>=1.26",
    "pyyaml>=6",
    "tqdm>=4.66",
    "filelock>=3.16",
    "jiwer>=3",  # word error rates: every stage recipe evaluates transcripts
]
IMPORTED_BY_LAVIS = [
    "torchvision>=0.21,<0.27",
    "pandas>=2.0",
    "pillow>=10",
    "opencv-python-headless>=4.9",
    # No wheels elsewhere; pal_plugin.hosts.lavis.compat stands in for it there (video is not used).
    "decord>=0.6; (sys_platform == 'linux' and platform_machine == 'x86_64')"
    " or sys_platform == 'win32'",
    "einops>=0.7",
    "fairscale>=0.4.13",
    "iopath>=0.1.10",
    "spacy>=3.7",
    "pycocoevalcap>=1.2",
    "pycocotools>=2.0.7",
    "requests>=2.31",
]


class BuildWithRecipes(build_py):
    """The run files of projects/pal, which exist once, are `pal_plugin/recipes` in a wheel."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        source, target = ROOT / "projects" / "pal", Path(self.build_lib) / "pal_plugin" / "recipes"
        for path in (*source.rglob("*.yaml"), *source.rglob("*.csv")):
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


setup(
    name="pal-plugin",
    version=VERSION,
    description="Audio for LLMs: PLITS, LAL and PAL (arXiv 2506.10423), alone or in LAVIS",
    author="The pal_plugin developers",
    project_urls={
        "Paper": "https://arxiv.org/abs/2506.10423",
        "LAVIS": "https://github.com/salesforce/LAVIS",
    },
    keywords="audio LLM multimodal speech captioning LAVIS",
    cmdclass={"build_py": BuildWithRecipes},
    long_description=(ROOT / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    python_requires=">=3.10",
    packages=find_packages(include=["pal_plugin", "pal_plugin.*"]),
    entry_points={
        "console_scripts": ["pal=pal_plugin.commands.main:main"],
        "lmms_eval.models": ["pal=pal_plugin.hosts.lmms_eval.registration:manifest"],
    },
    package_data={
        "pal_plugin": [
            *("configs/**/*.yaml", "pocket/**/*", "pocket/*"),
            *("corpora/fetching/*.csv", "clips/*.csv", "clips/*.ogg", "clips/*.flac"),
            *("spoken/*.txt", "hosts/page/*.css"),
        ]
    },
    install_requires=CORE,
    extras_require={
        "lavis": IMPORTED_BY_LAVIS,
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.12,<1",
            "scikit-learn>=1.4",
            "matplotlib>=3.8",
            "av>=14",
            "espeakng-loader>=0.2.4",
        ],
        "m4a": ["av>=14"],  # M4A, AAC and other formats of ffmpeg
        "eval": ["scikit-learn>=1.4"],
        # CIDEr-D and FENSE; later versions do not install beside transformers 5.
        "captions": ["aac-metrics==0.5.3"],
        "demo": ["matplotlib>=3.8"],
        # Makes the clips of pal_spoken. espeak-ng is GPL-3.0-or-later; it is run, not contained.
        "speech": ["espeakng-loader>=0.2.4"],
        "watch": ["tensorboard>=2.15"],
        # `pal serve`; of openai the types of its answers, and in tests the client.
        "serve": [
            "fastapi>=0.115",
            "httpx>=0.27",
            "openai>=1.60",
            "prometheus-client>=0.21",
            "python-multipart>=0.0.18",
            "uvicorn>=0.30",
        ],
        "page": ["gradio>=5.30"],  # the page of `pal serve`
        # What slow tests need besides: of docs/ (the site has docs/site/requirements.txt), and a
        # browser's remote control for the page.
        "docs": [
            *("griffelib>=2", "ipykernel>=6.29", "matplotlib>=3.8", "nbclient>=0.10"),
            "playwright>=1.50",
        ],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Operating System :: MacOS",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)),
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
