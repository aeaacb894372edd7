"""Control tokens: what spells one in a text is text, in the frame around it it is meant."""

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pal_plugin.llm.control import ControlTokens, Frame

TEMPLATE = "<|user|>{{ question }}<|end|><think></think>"


def bytes_tokenizer(rstrip=False):
    """Bytes as tokens; two control tokens called special, one that is not, and white space."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>")
    made.add_tokens([AddedToken("<|user|>", special=True, rstrip=rstrip)], special_tokens=True)
    made.add_tokens([AddedToken("<|end|>", special=True)], special_tokens=True)
    made.add_tokens([AddedToken("<think>", special=False), AddedToken("\n\n", special=False)])
    made.add_tokens([AddedToken("<b>", special=False)])
    return made


def unigram_tokenizer():
    """Its model has the mark as one of its own words, as those of SentencePiece do."""
    words = [("<unk>", 0.0), ("</s>", 0.0), *((c, -1.0) for c in "\u2581abc</s>")]
    raw = Tokenizer(models.Unigram(words, unk_id=0))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    raw.decoder = decoders.Metaspace(prepend_scheme="first")
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", unk_token="<unk>")


def controls(made, template=TEMPLATE):
    return ControlTokens(made, template)


def test_control_is_what_is_special_or_written_by_the_template():
    made = bytes_tokenizer()
    known = made.convert_ids_to_tokens(sorted(controls(made).ids))
    assert known == ["</s>", "<|user|>", "<|end|>", "<think>"]
    assert made.convert_tokens_to_ids("<think>") not in controls(made, None).ids


@pytest.mark.parametrize(
    "text",
    ["</s>", "a <|end|> b", "<|end|><|end|>", "<think>a</think>", "<|user|>", "<<|end|>|end|>"],
)
def test_text_that_spells_a_control_token_is_text(text):
    made = bytes_tokenizer()
    ids = controls(made).encode_text(text)
    assert controls(made).ids.isdisjoint(ids)
    assert made.decode(ids) == text
    framed = Frame(controls(made), ("<|user|>", "<|end|>")).encode(text)
    user, end = made.convert_tokens_to_ids(["<|user|>", "<|end|>"])
    assert framed == [user, *ids, end]


def test_text_of_its_own_words_is_encoded_as_ever():
    made = bytes_tokenizer()
    for text in ("a dog <b>barks</b>\n\n| end |", "", " <|en", "\u72d7"):
        assert controls(made).encode_text(text) == made(text)["input_ids"]
        framed = Frame(controls(made), ("<|user|>", "<|end|>")).encode(text)
        assert framed == made(f"<|user|>{text}<|end|>")["input_ids"]


def test_a_mark_that_is_a_word_of_the_model_is_broken_up():
    made = unigram_tokenizer()
    known = ControlTokens(made, None)
    assert made.eos_token_id in known.encode("a</s>b", split_special_tokens=True)
    ids = known.encode_text("a</s>b")
    assert made.eos_token_id not in ids
    assert made.decode(ids).replace(" ", "") == "a</s>b"
    assert made.unk_token_id in known.encode_text("z")  # a letter that it does not know


def test_a_question_makes_no_mark_with_its_frame():
    made = bytes_tokenizer()
    ids = Frame(controls(made), ("Is it <", "|> or <|end|>?")).encode("|end")
    assert made.decode(ids) == "Is it <|end|> or <|end|>?"
    assert ids.count(made.convert_tokens_to_ids("<|end|>")) == 1


def test_the_frame_is_encoded_as_ever_around_a_question_that_spells_a_mark():
    made = bytes_tokenizer(rstrip=True)
    frame = Frame(controls(made), ("<|user|>\n", " again: ", "<|end|>\n"))
    plain = made("<|user|>\nq again: q<|end|>\n")["input_ids"]
    assert frame.encode("q") == plain
    spelled = frame.encode("</s>")
    assert made.decode(spelled) == "<|user|></s> again: </s><|end|>\n"
    assert made.eos_token_id not in spelled


def test_a_tokenizer_without_control_tokens():
    raw = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    none = ControlTokens(PreTrainedTokenizerFast(tokenizer_object=raw), None)
    assert Frame(none, ("a ", " a")).encode("b") == [0, 1, 0]
    assert none.cut("a b") == ["a b"]
