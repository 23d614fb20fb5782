"""German words and phrases. Knows no conversations."""

from __future__ import annotations

SYSTEMS = (
    "Du bist ein hilfreicher Assistent.",
    "Antworte auf Deutsch.",
    "Du bist Pebble, ein kleiner Assistent.",
    "You are a helpful assistant.",
)
TALK = (
    ("Hallo!", ("Hallo! Wie kann ich dir helfen?", "Hallo! Was möchtest du wissen?")),
    ("Hallo", ("Hallo! Wie kann ich dir helfen?",)),
    ("Guten Tag!", ("Guten Tag! Wie kann ich helfen?",)),
    ("Guten Morgen!", ("Guten Morgen!",)),
    ("Guten Abend!", ("Guten Abend!",)),
    ("Gute Nacht!", ("Gute Nacht! Schlaf gut.",)),
    ("Wie geht es dir?", ("Mir geht es gut, danke. Und dir?", "Gut, danke!")),
    ("Wie geht's?", ("Gut, danke! Und dir?",)),
    ("Wie heißt du?", ("Ich heiße Pebble.",)),
    ("Wer bist du?", ("Ich bin Pebble, ein sehr kleines Sprachmodell.",)),
    ("Was bist du?", ("Ich bin ein kleines Sprachmodell.",)),
    ("Bist du ein Mensch?", ("Nein, ich bin ein Sprachmodell.",)),
    ("Was kannst du?", ("Ich kann ein wenig plaudern und kurze Texte schreiben.",)),
    ("Sprichst du Deutsch?", ("Ja, ein wenig.", "Ja, aber nur einfache Sätze.")),
    ("Danke!", ("Bitte!", "Gern geschehen!")),
    ("Vielen Dank!", ("Gern geschehen!",)),
    ("Tschüss!", ("Tschüss! Bis bald.",)),
    ("Auf Wiedersehen!", ("Auf Wiedersehen!",)),
    ("Hilf mir bitte.", ("Gern. Wobei kann ich dir helfen?",)),
    ("Wie alt bin ich?", ("Das weiß ich nicht.",)),
    ("Wie wird das Wetter morgen?", ("Das weiß ich nicht.", "Das kann ich nicht wissen.")),
    ("Wie spät ist es?", ("Das weiß ich leider nicht.",)),
    ("Wer hat die Wahl gewonnen?", ("Das weiß ich nicht.",)),
    (
        "Erzähl mir einen Witz.",
        (
            "Was ist grün und klopft an die Tür? Ein Klopfsalat.",
            "Was liegt am Strand und spricht undeutlich? Eine Nuschel.",
        ),
    ),
    ("Warum ist der Himmel blau?", ("Die Luft streut blaues Licht stärker als rotes.",)),
    ("Zähle von 1 bis 5.", ("1, 2, 3, 4, 5",)),
    ("Zähle bis 10.", ("1, 2, 3, 4, 5, 6, 7, 8, 9, 10",)),
)
CHOICES = (
    (
        "eine Farbe",
        ("Rot", "Blau", "Grün", "Gelb", "Schwarz", "Weiß", "Braun", "Grau", "Rosa", "Lila"),
    ),
    (
        "ein Tier",
        (
            "Hund",
            "Katze",
            "Kuh",
            "Pferd",
            "Vogel",
            "Fisch",
            "Maus",
            "Hase",
            "Fuchs",
            "Bär",
            "Igel",
            "Ente",
        ),
    ),
    ("ein Obst", ("Apfel", "Birne", "Banane", "Pflaume", "Kirsche", "Traube", "Zitrone", "Melone")),
    (
        "einen Wochentag",
        ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"),
    ),
    ("eine Zahl von 1 bis 10", tuple(map(str, range(1, 11)))),
    (
        "eine Stadt",
        ("Berlin", "Hamburg", "Köln", "Bonn", "Wien", "Bern", "Bremen", "Dresden", "Ulm"),
    ),
)
ASK_CHOICE = ("Nenne {}.", "Wähle {}.", "Sag {}.", "Nenne mir {}.", "Nenn {}")
CAPITALS = (
    ("Frankreich", "Paris"),
    ("Italien", "Rom"),
    ("Deutschland", "Berlin"),
    ("Spanien", "Madrid"),
    ("England", "London"),
    ("Polen", "Warschau"),
    ("Japan", "Tokio"),
    ("Norwegen", "Oslo"),
    ("Dänemark", "Kopenhagen"),
    ("Griechenland", "Athen"),
)
ANIMALS = (
    ("die Kuh", "muh"),
    ("der Hund", "wau"),
    ("die Katze", "miau"),
    ("das Schaf", "mäh"),
    ("die Ente", "quak"),
    ("der Frosch", "quak"),
)
OPPOSITES = (
    ("groß", "klein"),
    ("klein", "groß"),
    ("kalt", "warm"),
    ("warm", "kalt"),
    ("alt", "jung"),
    ("hell", "dunkel"),
    ("schnell", "langsam"),
    ("laut", "leise"),
    ("gut", "schlecht"),
    ("lang", "kurz"),
)
DAYS = ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag")
FACTS = (
    ("Welche Farbe hat der Himmel?", "Der Himmel ist blau."),
    ("Welche Farbe hat Gras?", "Gras ist grün."),
    ("Welche Farbe hat Schnee?", "Schnee ist weiß."),
    ("Wie viele Tage hat eine Woche?", "Eine Woche hat sieben Tage."),
    ("Wie viele Monate hat ein Jahr?", "Ein Jahr hat zwölf Monate."),
    ("Wie viele Beine hat eine Spinne?", "Eine Spinne hat acht Beine."),
    ("Was machen Bienen?", "Bienen machen Honig."),
    ("Wo leben Fische?", "Fische leben im Wasser."),
)
TRANSLATIONS = (
    ("dog", "Hund"),
    ("cat", "Katze"),
    ("house", "Haus"),
    ("water", "Wasser"),
    ("tree", "Baum"),
    ("bread", "Brot"),
    ("book", "Buch"),
    ("child", "Kind"),
    ("sun", "Sonne"),
    ("moon", "Mond"),
    ("red", "rot"),
    ("green", "grün"),
    ("hello", "hallo"),
    ("good", "gut"),
    ("small", "klein"),
    ("apple", "Apfel"),
)
HEROES = (
    ("ein kleiner Hund", "Er", "Und wenn er nicht gestorben ist, dann lebt er noch heute."),
    ("eine kleine Katze", "Sie", "Und wenn sie nicht gestorben ist, dann lebt sie noch heute."),
    ("ein kleines Mädchen", "Es", "Und wenn es nicht gestorben ist, dann lebt es noch heute."),
    ("ein junger König", "Er", "Und alle waren glücklich."),
    ("eine alte Frau", "Sie", "Und alle waren glücklich."),
)
