"""The pipeline's answers are those of `AudioLLM.ask`."""

import pytest
import transformers

from pal_plugin.models.audio_llm import AudioLLM


@pytest.mark.slow
@pytest.mark.skipif(transformers.__version__ < "5", reason="transformers 4 has no such pipeline")
def test_the_answers_are_those_of_audio_llm(script, folder, clips):
    source = folder()
    try:
        answers = script("ask").main([str(source), "What do you hear?", *clips])
    except ImportError as error:  # transformers 5.0 wants librosa for it
        pytest.skip(str(error).strip().splitlines()[0])
    model = AudioLLM.from_pretrained(source)
    assert answers == [model.ask(clip, "What do you hear?") for clip in clips]
