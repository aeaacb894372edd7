"""The prefix tree against scoring every candidate alone: whole text, no cache, no padding."""

import csv
from pathlib import Path

import pytest
import torch
import transformers

from pal_plugin.integration import AudioContext, attach
from pal_plugin.llm import pocket_chat
from pal_plugin.llm.label_tree import LabelTree, read_prompt, score, supports_tree

DATA = Path(__file__).parents[3] / "shared" / "data"
LABELS = DATA / "annotations" / "audioset" / "class_labels_indices.csv"
BPE = DATA / "assets" / "gpt2_bpe"
WIDTH = 32
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
#: Classes in transformers and what their configurations differ in. "-window" ones have a sliding
#: window that ends inside the prompt; in Gemma's and Qwen's every other layer has none.
FAMILIES = {
    "llama": ("Llama", {}),
    "qwen3": ("Qwen3", {"head_dim": 8}),
    "gemma2": ("Gemma2", {"head_dim": 8, "final_logit_softcapping": 2.0}),
    "gemma2-window": ("Gemma2", {"head_dim": 8, "sliding_window": 4}),
    "mistral": ("Mistral", {}),
    "mistral-window": ("Mistral", {"sliding_window": 4}),
    "qwen2": ("Qwen2", {}),
    "qwen2-window": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
    "phi3": ("Phi3", {"pad_token_id": 0}),
    "phi3-window": ("Phi3", {"pad_token_id": 0, "sliding_window": 4}),
    "gemma3": ("Gemma3", {"head_dim": 8}),
    "gemma3-window": ("Gemma3", {"head_dim": 8, "sliding_window": 4}),
    "smollm3": ("SmolLM3", {"pad_token_id": 0}),
    "olmo2": ("Olmo2", {}),
    "gemma": ("Gemma", {"head_dim": 8}),
    "granite": ("Granite", {"embedding_multiplier": 3.0, "logits_scaling": 2.0}),
    "granitemoe": ("GraniteMoe", {"logits_scaling": 2.0, "num_local_experts": 4}),
    "mixtral": ("Mixtral", {"num_local_experts": 4}),
    "mixtral-window": ("Mixtral", {"num_local_experts": 4, "sliding_window": 4}),
    "ministral": ("Ministral", {"head_dim": 8, "sliding_window": 64}),
    "ministral-window": ("Ministral", {"head_dim": 8, "sliding_window": 4}),
    "ministral3": ("Ministral3", {"head_dim": 8}),
    "qwen2_moe": ("Qwen2Moe", _EXPERTS),
    "qwen3_moe": ("Qwen3Moe", {"head_dim": 8, **_EXPERTS}),
    "gpt_oss": ("GptOss", {"head_dim": 8, "num_local_experts": 4, "sliding_window": 4}),
}
FAMILIES = {  # older versions of transformers lack some
    family: case
    for family, case in FAMILIES.items()
    if case[0] == "Gemma3" or hasattr(transformers, f"{case[0]}ForCausalLM")
}
#: Those that differ in their masks or in what stands behind the head; the others are slow.
DEFAULT = list(FAMILIES)[: list(FAMILIES).index("gemma")]
CASES = [
    pytest.param(family, backend, marks=[] if family in DEFAULT else pytest.mark.slow)
    for family in FAMILIES
    for backend in ("eager", "sdpa")
    if backend == "eager" or FAMILIES[family][0] not in ("Gemma2", "GptOss")  # it refuses them
]
#: Shared beginnings, one candidate that begins another, a duplicate, and one that stands alone.
CANDIDATES = [
    [3, 4, 5, 1],
    [3, 4, 6, 7, 1],
    [3, 8, 1],
    [3, 8, 1, 9, 1],
    [3, 8, 1],
    [10, 1],
    [11, 12, 13, 14, 15, 16, 1],
    [3, 4, 6, 17, 1],
]
PROMPTS = [[20, 21, 22, 23, 24, 25, 26], [30, 31, 32], [40, 41, 42, 43, 44]]


def tiny(family="llama", backend="eager", vocabulary=50, width=WIDTH):
    name, extra = FAMILIES[family]
    config = getattr(transformers, f"{name}TextConfig" if name == "Gemma3" else f"{name}Config")
    torch.manual_seed(0)
    llm = getattr(transformers, f"{name}ForCausalLM")(
        config(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            attn_implementation=backend,
            initializer_range=0.2,
            **extra,
        )
    )
    return llm.eval()


def read(llm, rows=PROMPTS, **kwargs):
    """The prompts as one left-padded batch."""
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return read_prompt(llm, llm.get_input_embeddings()(ids), mask, positions, **kwargs)


@torch.no_grad()
def naive(llm, prompt, candidate, **kwargs):
    ids = torch.tensor([prompt + candidate])
    logp = llm(input_ids=ids, use_cache=False, **kwargs).logits[0].float().log_softmax(-1)
    places = range(len(prompt) - 1, len(prompt) + len(candidate) - 1)
    return sum(float(logp[place, token]) for place, token in zip(places, candidate, strict=True))


def naive_scores(llm):
    return torch.tensor([[naive(llm, p, c) for c in CANDIDATES] for p in PROMPTS])


def close(got, expected):
    difference = (got - expected).abs().max()
    assert difference <= 1e-5 * expected.abs().max(), f"{difference} of {expected.abs().max()}"


def test_nodes_stand_depth_first():
    tree = LabelTree.build(CANDIDATES)
    parent, depth = tree.parent.tolist(), tree.depth.tolist()
    for node, token in enumerate(tree.tokens.tolist()):
        assert parent[node] < node
        assert depth[node] == (0 if parent[node] < 0 else depth[parent[node]] + 1)
        siblings = [n for n in range(len(parent)) if parent[n] == parent[node]]
        assert sum(token == tree.tokens[n] for n in siblings) == 1
    for candidate, path in zip(CANDIDATES, tree.paths.tolist(), strict=True):
        nodes = [node for node in path if node >= 0]
        assert tree.tokens[nodes].tolist() == candidate
        assert [parent[node] for node in nodes] == [-1, *nodes[:-1]]
    assert tree.counts.tolist() == [len(candidate) for candidate in CANDIDATES]
    assert tree.paths[2].tolist() == tree.paths[4].tolist()  # the duplicate


def test_only_what_something_follows_is_read():
    tree = LabelTree.build(CANDIDATES)
    assert tree.read.tolist() == sorted(set(tree.parent.tolist()) - {-1})
    assert len(LabelTree.build([[1], [2], [3]]).read) == 0


def test_ancestors():
    tree = LabelTree.build(CANDIDATES)
    nodes = torch.arange(len(tree.tokens))
    expected = torch.zeros(len(nodes), len(nodes), dtype=torch.bool)
    for node in nodes.tolist():
        above = node
        while above >= 0:
            expected[node, above] = True
            above = int(tree.parent[above])
    assert torch.equal(tree.ancestors(nodes), expected)
    some = torch.tensor([0, 2, 5])
    assert torch.equal(tree.ancestors(some), expected[some][:, some])


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_chunks_are_closed_under_ancestors(size):
    tree = LabelTree.build(CANDIDATES)
    seen = []
    for nodes in tree.chunks(size):
        assert set(tree.parent[nodes].tolist()) <= {-1, *nodes.tolist()}
        new = [node for node in nodes.tolist() if node not in seen]
        assert len(new) <= size
        seen += new
    assert seen == tree.read.tolist()


def test_what_cannot_be_ranked():
    with pytest.raises(ValueError, match="at least one candidate"):
        LabelTree.build([])
    with pytest.raises(ValueError, match="candidate 1 has no tokens"):
        LabelTree.build([[1], []])


@pytest.mark.parametrize(("family", "backend"), CASES)
def test_equals_scoring_one_by_one(family, backend):
    llm, tree = tiny(family, backend), LabelTree.build(CANDIDATES)
    prompt, expected = read(llm), naive_scores(llm)
    for max_nodes in (1024, 3):
        scores, counts = score(llm, prompt, tree, max_nodes=max_nodes)
        close(scores, expected)
    assert counts.tolist() == [len(candidate) for candidate in CANDIDATES]


@pytest.mark.parametrize("family", ["llama", "gemma2-window"])
def test_the_prompt_stays_as_it_was(family):
    llm, tree = tiny(family), LabelTree.build(CANDIDATES)
    prompt = read(llm)
    before = [(layer.keys, layer.values) for layer in prompt.cache.layers]
    first, _ = score(llm, prompt, tree, max_nodes=2)
    for layer, (keys, values) in zip(prompt.cache.layers, before, strict=True):
        assert layer.keys is keys
        assert layer.values is values
    assert prompt.cache.get_seq_length() == max(map(len, PROMPTS))
    again, _ = score(llm, prompt, tree, max_nodes=2)
    assert torch.equal(first, again)


def test_candidates_of_one_token_need_no_second_forward():
    llm = tiny()
    scores, _ = score(llm, read(llm), LabelTree.build([[5], [6]]))
    close(scores, torch.tensor([[naive(llm, p, [t]) for t in (5, 6)] for p in PROMPTS]))


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
@pytest.mark.parametrize("max_nodes", [1024, 3])
def test_with_audio(backend, max_nodes):
    llm = attach(tiny(backend=backend))
    torch.manual_seed(1)
    features = torch.randn(len(PROMPTS), 6, WIDTH)
    mask = torch.arange(6) < torch.tensor([6, 4, 1])[:, None]
    audio = AudioContext(features, mask).with_kv_cache()
    prompt = read(llm, audio=audio)
    scores, _ = score(llm, prompt, LabelTree.build(CANDIDATES), max_nodes=max_nodes, audio=audio)
    rows = []
    for row, text in enumerate(PROMPTS):
        alone = AudioContext(features[row : row + 1, mask[row]], mask[row : row + 1, mask[row]])
        rows.append([naive(llm, text, candidate, audio=alone) for candidate in CANDIDATES])
    close(scores, torch.tensor(rows))
    deaf, _ = score(llm, read(llm), LabelTree.build(CANDIDATES))
    assert not torch.allclose(scores, deaf, rtol=1e-2)


def test_backends_without_a_dense_mask_are_refused():
    llm = tiny()
    assert supports_tree(llm)
    llm.config._attn_implementation = "flash_attention_2"
    assert not supports_tree(llm)
    with pytest.raises(TypeError, match="eager.*flash_attention_2"):
        score(llm, None, LabelTree.build(CANDIDATES))


@pytest.mark.shared
@pytest.mark.skipif(
    not (LABELS.exists() and BPE.exists()), reason="needs AudioSet's labels in ../shared/data"
)
def test_audioset_takes_a_fifth_of_the_tokens():
    from tokenizers import ByteLevelBPETokenizer

    bpe = ByteLevelBPETokenizer(str(BPE / "vocab.json"), str(BPE / "merges.txt"))
    end = bpe.token_to_id("<|endoftext|>")
    with LABELS.open(newline="") as file:
        labels = [row["display_name"] for row in csv.DictReader(file)]
    candidates = [[*bpe.encode(label).ids, end] for label in labels]
    text = bpe.encode(pocket_chat.prompt("Which sound do you hear?")).ids
    llm = tiny(vocabulary=bpe.get_vocab_size(), width=16)
    tokens = []  # that go through the decoder
    llm.get_decoder().norm.register_forward_hook(
        lambda module, args, output: tokens.append(output.shape[0] * output.shape[1])
    )
    scores, counts = score(llm, read(llm, [text]), LabelTree.build(candidates))
    assert len(tokens) == 3  # the prompt, and the tree in two runs
    by_tree = sum(tokens)
    some = range(0, len(labels), 25)
    close(scores[0, some], torch.tensor([naive(llm, text, candidates[i]) for i in some]))

    without_prompt = int(counts.sum()) - len(labels)  # nobody has to read the end mark
    one_by_one = without_prompt + len(labels) * len(text)
    nodes = by_tree - len(text)
    print(
        f"{len(labels)} labels, prompt of {len(text)} tokens: {by_tree} tokens by the tree, "
        f"{one_by_one} one by one, {one_by_one / by_tree:.2f} x; without prompts {nodes} and "
        f"{without_prompt}, {without_prompt / nodes:.2f} x"
    )
    assert one_by_one >= 5 * by_tree
    assert without_prompt > nodes
