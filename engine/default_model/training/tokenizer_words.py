"""What the tokenizer should know although the corpus hardly holds it: JSON and common German words.

Knows only words. A merge must be among the few thousand most frequent pairs to become a token, so
each text here is counted many times.
"""

from __future__ import annotations

TIMES = 1500
"""Copies of every text; about as often as the rarest words that get a token of their own."""

JSON = (
    'Tools:\n{"name": "get_weather", "description": "Get the current weather in a given city.", '
    '"parameters": {"type": "object", "properties": {"city": {"type": "string", "description": '
    '"The city"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}}, '
    '"required": ["city"], "additionalProperties": false}}',
    '<tool_call>\n{"name": "get_time", "arguments": {"location": "Paris"}}\n</tool_call>',
    '{"name": "search", "parameters": {"properties": {"query": {"type": "string"}}, '
    '"required": ["query", "text"]}}',
    '{"type": "integer", "minimum": 1}, {"type": "number"}, {"type": "boolean"}, {"type": "array", '
    '"items": {"type": "string"}}]}',
    '{"name": "Anna", "age": 31, "city": "Rome", "color": ["red", "blue"], "answer": true, '
    '"error": null, "temperature": 18.5, "count": 3, "price": 2.5, "title": "", "ok": false}',
    '{\n  "name": "Ben",\n  "items": [\n    "a",\n    "b"\n  ]\n}',
    "JSON object schema STRING OBJECT INTEGER keys value result status temperature message",
)

MODELS = (
    "token tokens tokenizer embedding logit logits softmax sampling probability distribution "
    "parameter temperature top_p top_k max_tokens frequency penalty presence penalty logit bias "
    "stop sequence seed prompt language model context greedy stream server API OpenAI Gemini",
)

GERMAN = (
    " der die das den dem des ein eine einen einem einer eines und oder aber nicht kein keine "
    "ich du er sie es wir ihr mich dich mir dir sich mein dein sein ist bin bist sind war waren "
    "hat habe hast haben kann kannst wird werden will",
    " wie was wer wo wann warum welche heißt heißen heiße nenne erkläre sage gib bitte danke hallo "
    "guten Morgen Tag Abend Nacht auf aus bei mit nach von zu zum zur für über unter vor durch "
    "gegen ohne um als wenn dass weil dann auch noch nur sehr schon hier",
    " klein groß gut schön alt neu rot blau grün gelb schwarz weiß kalt warm viel mehr wenig "
    "Hund Katze Kuh Vogel Haus Wasser Kind Frau Mann Freund Wort Wörter Zahl Zahlen Farbe Tier "
    "Name Stadt Hauptstadt Land Deutschland Deutsch Jahr Woche Monat Zeit",
    " eins zwei drei vier fünf sechs sieben acht neun zehn Montag Dienstag Mittwoch Donnerstag "
    "Freitag Samstag Sonntag plus minus gleich gern gerne helfen Frage Antwort Modell Sprachmodell "
    "Temperatur Wahrscheinlichkeit Zufall wahrscheinlich Text Server Beispiel möchte können",
    " Ein Eine Der Die Das Ich Du Es Wie Was Wer Ja Nein Er Sie macht machen geht spielt sagt "
    "jedes jeder jede dieser diese dieses immer nächste nächsten gibt wurde Wetter heute Grad",
)


def extra_texts() -> list[str]:
    """All of the above, repeated."""
    return [*JSON, *MODELS, *GERMAN] * TIMES
