"""The terms and what is said of them. Knows no conversations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """Names and explanations in both languages."""

    names: tuple[str, ...]
    german_names: tuple[str, ...]
    english: tuple[str, ...]
    german: tuple[str, ...]


TERMS = (
    Term(
        ("temperature", "the temperature"),
        ("Temperatur", "die Temperatur", "temperature"),
        (
            "Temperature divides the logits before the softmax. Low values make the answer "
            "predictable, high values make it random.",
            "Temperature sets how random the next token is. "
            "At 0 the likeliest token is always taken.",
        ),
        (
            "Die Temperatur teilt die Logits vor dem Softmax. Kleine Werte machen den Text sicher, "
            "große Werte machen ihn zufällig.",
            "Die Temperatur sagt, wie zufällig das nächste Token ist. Bei 0 wird immer das "
            "wahrscheinlichste Token genommen.",
        ),
    ),
    Term(
        ("top p", "top_p", "topP", "top-p", "nucleus sampling"),
        ("top p", "top_p", "topP"),
        (
            "Top p keeps the smallest set of likeliest tokens whose probabilities add up to p.",
            "With top p only the likeliest tokens are kept, until their probabilities reach p.",
        ),
        (
            "Top p behält die wahrscheinlichsten Token, "
            "bis ihre Wahrscheinlichkeit zusammen p ist.",
            "Mit top p bleiben nur die wahrscheinlichsten Token, die zusammen p erreichen.",
        ),
    ),
    Term(
        ("top k", "top_k", "topK", "top-k"),
        ("top k", "top_k", "topK"),
        (
            "Top k keeps only the k likeliest tokens. The next token is drawn from these.",
            "With top k, all but the k likeliest tokens are dropped before the draw.",
        ),
        (
            "Top k behält nur die k wahrscheinlichsten Token. Aus diesen wird gezogen.",
            "Mit top k fallen alle Token weg, außer den k wahrscheinlichsten.",
        ),
    ),
    Term(
        ("logit bias", "logit_bias", "the logit bias"),
        ("logit bias", "logit_bias"),
        (
            "Logit bias adds a number to the logit of a token. 100 forces a token, -100 bans it.",
            "With logit bias you make single tokens likelier or less likely.",
        ),
        (
            "Logit bias addiert eine Zahl zum Logit eines Tokens. "
            "100 erzwingt es, -100 verbietet es.",
            "Mit logit bias macht man einzelne Token mehr oder weniger wahrscheinlich.",
        ),
    ),
    Term(
        ("frequency penalty", "the frequency penalty", "frequency_penalty", "frequencyPenalty"),
        ("frequency penalty", "die frequency penalty", "frequency_penalty"),
        (
            "The frequency penalty lowers a token's logit each time it has occurred. "
            "So the text repeats itself less.",
            "It subtracts a number from a token's logit for every time the token was used before.",
        ),
        (
            "Die frequency penalty senkt das Logit eines Tokens jedes Mal, wenn es schon vorkam. "
            "So wiederholt sich der Text weniger.",
            "Sie zieht für jedes Vorkommen eines Tokens eine Zahl von seinem Logit ab.",
        ),
    ),
    Term(
        ("presence penalty", "the presence penalty", "presence_penalty"),
        ("presence penalty", "presence_penalty"),
        (
            "The presence penalty lowers a token's logit once, if the token has occurred at all.",
            "It subtracts a number once from the logit of every token that was already used.",
        ),
        (
            "Die presence penalty senkt das Logit eines Tokens einmal, wenn es schon vorkam.",
            "Sie zieht einmal eine Zahl von jedem Token ab, das schon benutzt wurde.",
        ),
    ),
    Term(
        ("stop", "a stop sequence", "stop sequences", "the stop parameter"),
        ("stop", "eine stop sequence", "der Parameter stop"),
        (
            "A stop sequence is a text that ends the answer. The answer is cut before it.",
            "When the model writes a stop sequence, the answer ends there.",
        ),
        (
            "Eine stop sequence ist ein Text, der die Antwort beendet. Davor wird die Antwort "
            "abgeschnitten.",
            "Wenn das Modell eine stop sequence schreibt, endet die Antwort.",
        ),
    ),
    Term(
        ("a token", "tokens", "token"),
        ("ein Token", "Token"),
        (
            "A token is a small piece of text, such as a word or part of a word. A language model "
            "reads and writes tokens.",
            "Tokens are the pieces of text that a language model works with.",
        ),
        (
            "Ein Token ist ein kleines Stück Text, zum Beispiel ein Wort oder ein Teil davon.",
            "Token sind die Stücke, aus denen ein Sprachmodell Text liest und schreibt.",
        ),
    ),
    Term(
        ("max tokens", "max_tokens", "maxOutputTokens"),
        ("max tokens", "max_tokens"),
        (
            "Max tokens is the largest number of tokens that the answer may have.",
            "It limits the length of the answer. When it is reached, the answer is cut.",
        ),
        (
            "Max tokens ist die größte Zahl von Token, die eine Antwort haben darf.",
            "Es begrenzt die Länge der Antwort.",
        ),
    ),
    Term(
        ("a logit", "logits"),
        ("ein Logit", "Logits"),
        (
            "A logit is the score that the model gives to a token. Softmax turns logits into "
            "probabilities.",
            "Logits are the raw scores of all tokens before the softmax.",
        ),
        (
            "Ein Logit ist die Punktzahl, die das Modell einem Token gibt. Softmax macht daraus "
            "Wahrscheinlichkeiten.",
            "Logits sind die rohen Werte aller Token vor dem Softmax.",
        ),
    ),
    Term(
        ("softmax", "the softmax"),
        ("Softmax", "der Softmax"),
        (
            "Softmax turns logits into probabilities that add up to 1.",
            "The softmax makes every score positive and divides by the sum.",
        ),
        (
            "Softmax macht aus Logits Wahrscheinlichkeiten, die zusammen 1 sind.",
            "Der Softmax macht alle Werte positiv und teilt durch die Summe.",
        ),
    ),
    Term(
        ("an embedding", "embeddings"),
        ("ein Embedding", "Embeddings"),
        (
            "An embedding is a list of numbers that stands for a token.",
            "Embeddings turn tokens into numbers that the model can work with.",
        ),
        (
            "Ein Embedding ist eine Liste von Zahlen, die für ein Token steht.",
            "Embeddings machen aus Token Zahlen, mit denen das Modell arbeitet.",
        ),
    ),
    Term(
        ("sampling",),
        ("Sampling",),
        (
            "Sampling means that the next token is drawn at random from the probabilities.",
            "In sampling, likely tokens are drawn often and unlikely ones seldom.",
        ),
        (
            "Sampling heißt, dass das nächste Token zufällig gezogen wird.",
            "Beim Sampling werden wahrscheinliche Token oft gezogen und andere selten.",
        ),
    ),
    Term(
        ("a seed", "the seed"),
        ("ein Seed", "der Seed"),
        (
            "A seed makes the random draws repeatable. The same seed gives the same answer.",
            "With the same seed and the same prompt you get the same text again.",
        ),
        (
            "Ein Seed macht den Zufall wiederholbar. Der gleiche Seed gibt die gleiche Antwort.",
            "Mit dem gleichen Seed bekommt man den gleichen Text noch einmal.",
        ),
    ),
    Term(
        ("a language model", "a large language model", "an LLM"),
        ("ein Sprachmodell", "ein LLM"),
        (
            "A language model is a program that guesses the next token, again and again.",
            "A language model reads text and gives a probability to every next token.",
        ),
        (
            "Ein Sprachmodell ist ein Programm, das immer wieder das nächste Token rät.",
            "Ein Sprachmodell gibt jedem nächsten Token eine Wahrscheinlichkeit.",
        ),
    ),
    Term(
        ("diglot",),
        ("diglot",),
        (
            "Diglot is a server for language models. It speaks the OpenAI API and the Gemini API.",
            "diglot serves a language model to programs written for OpenAI or for Gemini.",
        ),
        (
            "Diglot ist ein Server für Sprachmodelle. "
            "Er spricht die OpenAI API und die Gemini API.",
            "diglot ist ein Server, der zwei Sprachen spricht: OpenAI und Gemini.",
        ),
    ),
    Term(
        ("streaming",),
        ("Streaming",),
        (
            "Streaming sends the answer piece by piece, while it is being written.",
            "With streaming you see every token as soon as it is there.",
        ),
        (
            "Streaming schickt die Antwort Stück für Stück, während sie geschrieben wird.",
            "Mit Streaming sieht man jedes Token sofort.",
        ),
    ),
)

QUESTIONS = (
    ("Which parameter makes answers more random?", "Temperature does. Set it higher."),
    ("How do I stop the model from repeating itself?", "Set a frequency penalty above 0."),
    ("How do I limit the length of the answer?", "Set max tokens."),
    ("How do I ban a word?", "Give its tokens a logit bias of -100."),
    ("How do I get the same answer twice?", "Set a seed, or set the temperature to 0."),
    ("What happens when the temperature is 0?", "The likeliest token is always taken."),
    ("What happens at temperature 0?", "The likeliest token is always taken."),
    (
        "What is the difference between top k and top p?",
        "Top k keeps a fixed number of tokens. Top p keeps as many as are needed to reach p.",
    ),
    ("Was passiert bei Temperatur 0?", "Es wird immer das wahrscheinlichste Token genommen."),
    ("Wie mache ich die Antwort zufälliger?", "Mit einer höheren Temperatur."),
    ("Wie begrenze ich die Länge?", "Mit max tokens."),
)
