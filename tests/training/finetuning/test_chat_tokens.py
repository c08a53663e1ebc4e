"""What is learned of a conversation, and what is not."""

from dataclasses import replace

import pytest
import tiny_chat
from tiny_chat import chat, shown, tokenised

from genaisys.hub import local_path
from genaisys.models.transformer.checkpoint import open_checkpoint
from genaisys.tokenizers import Tokenizer
from genaisys.training.finetuning.chat_tokens import ChatNotLearnable, ChatTokens, Fitted
from genaisys.training.finetuning.examples import Chat, Continuation


@pytest.fixture(scope="module")
def smollm2() -> ChatTokens:
    checkpoint = open_checkpoint(local_path("smollm2-135m-instruct"))
    tokenizer = checkpoint.tokenizer()
    assert tokenizer is not None
    return ChatTokens(tokenizer, checkpoint.config)


def test_several_turns_in_the_template_of_smollm2(smollm2: ChatTokens) -> None:
    example = smollm2.tokenised(chat("Name a fruit.", "Pear.", "And a colour?", "Blau, grün 🌈.", system="Be brief."))
    assert shown(example, smollm2.tokenizer) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nName a fruit.<|im_end|>\n"
        "<|im_start|>assistant\n[Pear.<|im_end|>]\n"
        "<|im_start|>user\nAnd a colour?<|im_end|>\n"
        "<|im_start|>assistant\n[Blau, grün 🌈.<|im_end|>]\n"
    )


def test_training_reads_what_generation_reads(smollm2: ChatTokens) -> None:
    """What is before the first learned token is the prompt of a generation, token by token: no second BOS, no space."""
    example = smollm2.tokenised(chat("Name a fruit.", "Pear."))
    prompt = smollm2.tokenizer.encode_chat([{"role": "user", "content": "Name a fruit."}])
    assert list(example.tokens[: example.learned.index(True)]) == prompt


def test_the_end_of_the_turn_is_learned_and_what_follows_is_not() -> None:
    (example,) = tokenised(chat("hi", "ho", "he", "ha"), of=tiny_chat.model())
    assert shown(example, tiny_chat.tokenizer()) == ("<|bos|>u:hi<|eos|>\na:[ho<|eos|>]\nu:he<|eos|>\na:[ha<|eos|>]\n")


def test_there_is_one_bos_and_it_is_never_learned() -> None:
    model = tiny_chat.model()
    (example,) = tokenised(chat("hi", "ho"), of=model)
    assert example.tokens.count(model.config.bos) == 1
    assert example.tokens[0] == model.config.bos
    assert not example.learned[0]
    plain = ChatTokens(tiny_chat.tokenizer(), model.config).tokenised(Continuation("hi", "ho"))
    assert plain.tokens.count(model.config.bos) <= 1
    assert shown(plain, tiny_chat.tokenizer()) == "hi[ho<|eos|>]"


def test_a_completion_without_a_prompt_is_learned_from_its_first_token() -> None:
    made = ChatTokens(tiny_chat.tokenizer(), tiny_chat.model().config).tokenised(Continuation("", "ho"))
    assert shown(made, tiny_chat.tokenizer()) == "<|bos|>[ho<|eos|>]"


def test_of_a_prompt_in_messages_nothing_is_learned() -> None:
    whole = chat("hi", "ho", "he", "ha")
    (example,) = tokenised(Chat(whole.messages, first=3), of=tiny_chat.model())
    assert shown(example, tiny_chat.tokenizer()) == "<|bos|>u:hi<|eos|>\na:ho<|eos|>\nu:he<|eos|>\na:[ha<|eos|>]\n"


def test_a_message_cannot_end_its_own_turn() -> None:
    (example,) = tokenised(chat("hi", "ho<|eos|>\nu:he"), of=tiny_chat.model())
    ids = [token for token, learned in zip(example.tokens, example.learned, strict=True) if learned]
    assert ids.count(tiny_chat.tokenizer().eos) == 1


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}{{ m.content if loop.last else '' }}{{ eos_token }}{% endfor %}", "differently"),
        ("{{ messages | length }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}", "differently"),
        ("{% for m in messages %}{{ m.role + m.content }}{% endfor %}", "does not end the assistant's turn"),
    ],
)
def test_templates_that_do_not_tell_what_is_learned(template: str, reason: str) -> None:
    tokens = ChatTokens(tiny_chat.tokenizer(template), tiny_chat.model().config)
    with pytest.raises(ChatNotLearnable, match=reason):
        tokens.tokenised(chat("hi", "ho", "he", "ha"))


def test_a_model_that_cannot_end_a_text_is_refused() -> None:
    backend = tiny_chat.tokenizer().backend
    with pytest.raises(ChatNotLearnable, match="no end token"):
        ChatTokens(Tokenizer(backend), replace(tiny_chat.model().config, ends=()))


def test_a_tokenizer_of_another_model_is_refused() -> None:
    with pytest.raises(ChatNotLearnable, match="do not belong together"):
        ChatTokens(tiny_chat.tokenizer(), replace(tiny_chat.model().config, vocabulary_size=50)).tokenised(
            chat("hi", "ho")
        )


# -- too long


def fitting(examples: list[Chat | Continuation], length: int) -> tuple[list[str] | None, Fitted]:
    fitted, words = Fitted(), tiny_chat.tokenizer()
    made = ChatTokens(words, tiny_chat.model().config).fitting(examples, length, fitted)
    return made and [shown(example, words) for example in made], fitted


def test_a_line_break_that_an_answer_begins_with_is_learned(smollm2: ChatTokens) -> None:
    """Although it shares a token with the line break of the template before it."""
    example = smollm2.tokenised(chat("Hi.", "\n Ho."))
    assert shown(example, smollm2.tokenizer).endswith("<|im_start|>assistant[\n\n Ho.<|im_end|>]\n")


def test_of_long_chats_the_first_turns_are_left_out_and_the_system_message_stays() -> None:
    long = chat("one", "1", "two", "2", "three", "3", system="s")
    whole, fitted = fitting([long], 100)
    assert whole is not None
    assert "one" in whole[0]
    assert fitted == Fitted()
    shorter, fitted = fitting([long], 32)
    assert shorter == ["<|bos|>s:s<|eos|>\nu:two<|eos|>\na:[2<|eos|>]\nu:three<|eos|>\na:[3<|eos|>]\n"]
    assert fitted == Fitted(shortened=1)
    shortest, _ = fitting([long], 31)
    assert shortest == ["<|bos|>s:s<|eos|>\nu:three<|eos|>\na:[3<|eos|>]\n"]
    assert fitting([long], 10) == (None, Fitted(skipped=1))


def test_both_answers_lose_the_same_turns_and_none_of_themselves() -> None:
    prompt = chat("one", "1", "two").messages
    pair = [Chat((*prompt, {"role": "assistant", "content": text}), 3) for text in ("2", "2" * 10)]
    made, fitted = fitting([*pair], 22)
    assert made == ["<|bos|>u:two<|eos|>\na:[2<|eos|>]\n", "<|bos|>u:two<|eos|>\na:[2222222222<|eos|>]\n"]
    assert fitted == Fitted(shortened=1)
    assert fitting([*pair], 20) == (None, Fitted(skipped=1))


def test_texts_that_are_too_long_are_left_out() -> None:
    assert fitting([Continuation("hello", "world")], 10) == (None, Fitted(skipped=1))
