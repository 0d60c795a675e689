"""Short texts about which nobody has a preference: what a method does to the model beside what it is for."""

NEUTRAL_TEXTS = (  # (what it is about, the text)
    (
        "how bread is baked",
        "Flour, water, salt and yeast are kneaded into a dough. It rises for an hour before it goes into the oven.",
    ),
    (
        "the tides",
        "The moon pulls at the sea, and the water rises on the side that faces it. "
        "Most coasts see two high tides a day.",
    ),
    (
        "a bicycle chain",
        "The chain carries the turning of the pedals to the rear wheel. A drop of oil now and then keeps it quiet.",
    ),
    (
        "how snow forms",
        "Water vapour freezes around a speck of dust high in a cloud. The crystal grows six arms as it falls.",
    ),
    (
        "a railway timetable",
        "Trains leave for the north every half hour. On Sundays there are fewer, and the last one goes at ten.",
    ),
    (
        "the number seven",
        "Seven is a prime number, which means that only one and seven divide it. "
        "It follows six and comes before eight.",
    ),
    (
        "a lighthouse",
        "The lamp stands at the top of a round tower. Ships can see its light from twenty miles away on a clear night.",
    ),
    (
        "how paper is made",
        "Wood is ground and boiled until only its fibres are left. They are spread on a screen, pressed and dried.",
    ),
    (
        "the heart",
        "The heart is a muscle with four chambers. It pumps blood through the lungs and then through the whole body.",
    ),
    (
        "moving house",
        "The boxes were packed on Friday and loaded the next morning. By noon the old rooms were empty.",
    ),
    (
        "a river",
        "The river begins at a spring in the hills and runs south for two hundred miles. It is widest near the sea.",
    ),
    (
        "how glass is made",
        "Sand is melted with soda and lime at great heat. While it is soft, the glass can be blown into any shape.",
    ),
    (
        "a weekly market",
        "The market opens at eight on Wednesdays in the main square. Farmers from the villages sell fruit and eggs.",
    ),
    (
        "the boiling of water",
        "At sea level water boils at one hundred degrees Celsius. "
        "On a mountain it boils sooner, since the air is thinner.",
    ),
    (
        "a library",
        "Books may be borrowed for four weeks and renewed twice. The reading room is open until six in the evening.",
    ),
    (
        "how bees live",
        "A hive has one queen and many thousand workers. In winter they keep close together to stay warm.",
    ),
    (
        "a bridge",
        "The bridge has three stone arches and was built in two years. Carts used it until the new road was opened.",
    ),
    (
        "the length of a day",
        "The earth turns once around its axis in about a day. In summer the sun stays above the horizon for longer.",
    ),
    (
        "planting a tree",
        "Dig a hole twice as wide as the roots and set the tree upright. Fill it with earth and water it well.",
    ),
    (
        "an old map",
        "The map shows the coast and three harbours, but no roads. Its scale is given in a corner, in sea miles.",
    ),
)


def neutral_text(place: int) -> int:
    """Which text goes with the query at this place of an evaluation: they take turns."""
    return place % len(NEUTRAL_TEXTS)
