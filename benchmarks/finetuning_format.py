"""Whether fine-tuning has changed what a chat model does: how many of its replies are one JSON object, and how long.

    python benchmarks/finetuning_format.py smollm2-135m-instruct json-answers/model short-answers/model

The models are what `genaisys finetune json-answers` and then `genaisys finetune short-answers` leave, and what they
began with. The 40 questions below are in none of the recipes' data. Greedy, so that there is one reply to each. A reply
follows the format if all of it is one JSON object with the keys "answer" and "topic", in this order, and two texts.
"""

import json
import sys
import time
from statistics import mean

from genaisys.models.transformer.generation import Sampling, load_engine

QUESTIONS = (
    "What is the capital of Portugal?",
    "Why is grass green?",
    "How many days are in a leap year?",
    "What do koalas eat?",
    'Who wrote "Romeo and Juliet"?',
    "What is the largest planet in the solar system?",
    "How do I make a cup of tea?",
    "What is a verb?",
    "What is the chemical formula of water?",
    "Who was Albert Einstein?",
    "What is the boiling point of water in Fahrenheit?",
    "How does a bicycle stay upright?",
    "What is a rainbow?",
    'Translate "good night" into German.',
    "What is 12 times 12?",
    "How do airplanes fly?",
    "What is the purpose of the lungs?",
    "Name a famous painter.",
    "What is a computer virus?",
    "Why do dogs wag their tails?",
    "What is the longest river in the world?",
    "How do I take care of a houseplant?",
    "What is an earthquake?",
    "What is the difference between a fruit and a vegetable?",
    "Who was the first president of the United States?",
    "What is a piano?",
    "Give me a tip for saving money.",
    "What is ice made of?",
    "How many continents are there?",
    "What is a good way to start the day?",
    "Why do we dream?",
    "What is the moon made of?",
    "What does a doctor do?",
    "Explain what a computer program is.",
    "What is the capital of Australia?",
    "How do I clean a window?",
    "What is the sun?",
    "Write a sentence about the sea.",
    "What are clouds made of?",
    "What is friendship?",
)
SHOWN = 4  # replies of each model


def main(models: list[str]) -> None:
    replies = {model: answered(model) for model in models}
    print("| model | replies in the format | words an answer | replies that ended by themselves |")
    print("| --- | --- | --- | --- |")
    for model, texts in replies.items():
        answers = [answer for text, _ in texts if (answer := answer_in(text)) is not None]
        words = f"{mean(len(answer.split()) for answer in answers):.1f}" if answers else "-"
        ended = sum(finish == "end" for _, finish in texts)
        print(f"| {model} | {len(answers)} of {len(QUESTIONS)} | {words} | {ended} |")
    for number, question in enumerate(QUESTIONS[:SHOWN]):
        print(f"\n**{question}**\n")
        for model, texts in replies.items():
            print(f"- {model}: {' '.join(texts[number][0].split())}")


def answered(model: str) -> list[tuple[str, str]]:
    """Reply to each question, and how it has ended."""
    began = time.perf_counter()
    engine = load_engine(model)
    assert engine.tokenizer is not None
    prompts = [engine.tokenizer.encode_chat([{"role": "user", "content": question}]) for question in QUESTIONS]
    generated = engine.run([(prompt, Sampling(max_new_tokens=200)) for prompt in prompts])
    print(f"{model}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return [(one.text, one.finish) for one in generated]


def answer_in(reply: str) -> str | None:
    """The answer of a reply that follows the format."""
    try:
        found = json.loads(reply)
    except ValueError:
        return None
    if not isinstance(found, dict) or list(found) != ["answer", "topic"]:
        return None
    return found["answer"] if all(isinstance(value, str) for value in found.values()) else None


if __name__ == "__main__":
    main(sys.argv[1:] or ["smollm2-135m-instruct", "json-answers/model", "short-answers/model"])
