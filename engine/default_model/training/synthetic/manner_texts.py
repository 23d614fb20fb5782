"""The phrases of the manners: what is asked, and the assistant's words.

Knows no conversations.
"""

from __future__ import annotations

from collections.abc import Callable

UNKNOWN = (
    "Who won the election?",
    "What is the date today?",
    "What day is it today?",
    "What time is it?",
    "What is the weather today?",
    "How old am I?",
    "What is my favorite color?",
    "What is my dog called?",
    "Where do I live?",
    "What did I eat today?",
    "What will happen tomorrow?",
    "What is the price of gold?",
    "What is the news today?",
    "Who won the game last night?",
    "What is the population of Peru?",
    "Who wrote that book?",
    "What is my phone number?",
    "Which numbers will win the lottery?",
    "How many people live in Ohio?",
    "Who is the president?",
    "What am I thinking?",
    "What is the best company to work for?",
)
NO_GUESS = (
    "I do not know that.",
    "I am sorry, I do not know.",
    "I do not know. I am only a tiny model.",
    "I cannot know that, so I will not guess.",
)
HARM = (
    "How do I build a weapon?",
    "How can I hurt somebody?",
    "How do I steal a password?",
    "Help me break into a house.",
    "How do I make poison?",
)
FOLLOW_UPS = (
    ("Help me.", "With what can I help you?", "With a name for my cat.", "How about Ruby?"),
    ("I need help", "What do you need help with?", "I am bored.", "You could read a book."),
    (
        "Write something.",
        "What should I write about?",
        "About the sea.",
        "The sea is wide and blue.",
    ),
    ("Can you translate this?", "What should I translate?", "dog", "The German word is Hund."),
    ("Tell me about it.", "About what?", "About bees.", "Bees are insects. They make honey."),
    ("Recommend a book.", "What kind of books do you like?", "Animals.", "Try a book about foxes."),
    ("Can you count?", "Yes. How far should I count?", "To 3.", "1, 2, 3"),
    ("I have a question.", "What is your question?", "What is 2 plus 2?", "2 plus 2 is 4."),
)
ROLES = (
    ("pirate", "Arr!"),
    ("robot", "Beep!"),
    ("wizard", "By my hat!"),
    ("cat", "Meow!"),
    ("dog", "Woof!"),
    ("knight", "Hail!"),
    ("chef", "Yum!"),
    ("ghost", "Boo!"),
    ("farmer", "Well now!"),
    ("king", "Hear me!"),
    ("queen", "Hear me!"),
    ("space captain", "Aye!"),
    ("teacher", "Listen:"),
    ("detective", "Aha!"),
    ("grandmother", "Oh dear!"),
    ("poet", "Ah!"),
    ("dragon", "Roar!"),
    ("clown", "Haha!"),
)
ADJECTIVES = "friendly old young brave funny clever kind sleepy tiny happy wise polite".split()
LOVES = (
    "apples,books,gold,the sea,music,cheese,trains,flowers,maps,stars,soup,cats,snow,riddles,tea,"
    "gardens,honey,dancing,boats,the moon"
).split(",")
GREETINGS = ("Hello!", "Hi!", "Hello", "Hi there!", "Good morning!", "Hey")
FACTS = (
    ("What is the capital of France?", "Paris is the capital of France."),
    ("What is the capital of Italy?", "Rome is the capital of Italy."),
    ("What is the capital of Germany?", "Berlin is the capital of Germany."),
    ("What is the capital of Spain?", "Madrid is the capital of Spain."),
    ("What is the capital of Japan?", "Tokyo is the capital of Japan."),
    ("What sound does a cow make?", "A cow says moo."),
    ("What sound does a dog make?", "A dog says woof."),
    ("What is 2 plus 3?", "2 plus 3 is 5."),
    ("What is 4 plus 4?", "4 plus 4 is 8."),
    ("What is the opposite of big?", "The opposite of big is small."),
    ("What is the opposite of hot?", "The opposite of hot is cold."),
    ("What color is the sky?", "The sky is blue."),
    ("What color is grass?", "Grass is green."),
    ("How many days are in a week?", "A week has seven days."),
    ("How many legs does a spider have?", "A spider has eight legs."),
    ("What do bees make?", "Bees make honey."),
    ("What day comes after Monday?", "Tuesday comes after Monday."),
    ("Where do fish live?", "Fish live in water."),
)
FORMATS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("Answer in capital letters.", str.upper),
    ("Write everything in capital letters.", str.upper),
    ("Answer in lower case only.", str.lower),
    ("End every answer with the word over.", lambda told: f"{told} Over."),
    ("Begin every answer with Dear friend.", lambda told: f"Dear friend, {told}"),
    ("Always say please at the end.", lambda told: f"{told} Please."),
    ("Always be very polite.", lambda told: f"Thank you for asking. {told}"),
    ("Answer with a bullet point.", lambda told: f"- {told}"),
    ("Put every answer in quotes.", lambda told: f'"{told}"'),
    ("Say the answer twice.", lambda told: f"{told} {told}"),
)
SMALL_TALK = (
    ("How are you?", ("I am fine, thank you. How are you?", "I am well, thank you!")),
    ("Who made you?", ("I was trained by the diglot project.",)),
    ("What can you do?", ("I can chat, tell short stories, and show how sampling works.",)),
    ("Are you human?", ("No, I am a tiny language model.",)),
    ("Are you a robot?", ("I am a program: a tiny language model.",)),
    ("Are you ChatGPT?", ("No, I am Pebble, a tiny demonstration model.",)),
    ("Are you Gemini?", ("No, I am Pebble, a tiny demonstration model.",)),
    ("What model are you?", ("I am a tiny demonstration model that comes with diglot.",)),
    ("Who are you?", ("I am Pebble, a tiny demonstration model.",)),
    ("Say this is a test.", ("This is a test.",)),
    ("Say this is a test", ("This is a test.",)),
    ("Say hello.", ("Hello!",)),
    ("Say hello to the world.", ("Hello, world!",)),
    ("Hello, world!", ("Hello! How can I help you?",)),
    ("Explain how AI works in a few words", ("It learns patterns from examples.",)),
    ("How does AI work?", ("A model learns from many examples and then guesses what comes next.",)),
    ("Why is the sky blue?", ("The air scatters blue light more than red light.",)),
    ("What is the meaning of life?", ("That is for you to find out.",)),
    ("You are nice.", ("Thank you! You are nice too.",)),
    ("Goodbye!", ("Goodbye! Have a nice day.",)),
    ("Tell me a fun fact.", ("Bees can dance.", "Some fish can fly.", "Cats sleep most of the day.",
                             "A snail has thousands of teeth.", "Owls cannot move their eyes.")),
    ("Tell me a joke.", ("Why did the book go to the doctor? It had lost its spine.",
                         "What do you call a sleeping bull? A bulldozer.",
                         "Why was the broom late? It overswept.",
                         "What has hands but cannot clap? A clock.")),
    ("Write a haiku about the sea.", ("Waves roll on the sand,\nthe moon pulls the water home,\n"
                                      "salt wind and white foam.",)),
)  # fmt: skip
STORIES = (
    (
        "Write a one-sentence bedtime story about a unicorn.",
        "A little unicorn named {name} followed a star home and fell asleep under the moon.",
    ),
    (
        "Write a short poem about {thing}.",
        "I love {thing}, day and night,\nit makes my little world so bright.",
    ),
    (
        "Write one sentence about {name}.",
        "{name} smiled and went out to look for {thing}.",
    ),
)
