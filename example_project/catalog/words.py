"""Words for the products and orders of ``seed_catalog``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """A category and its products."""

    parent: str
    name: str
    nouns: tuple[str, ...]
    uses: tuple[str, ...]


def _listed(names: str) -> tuple[str, ...]:
    return tuple(names.split(", "))


def _group(parent: str, name: str, nouns: str, uses: str) -> Group:
    return Group(parent, name, _listed(nouns), _listed(uses))


GROUPS = (
    _group(
        "Sports",
        "Running",
        "running shoes, trail shoes, running jacket, hydration vest, compression socks",
        "long runs on tarmac, muddy forest trails, a first marathon, early training in the dark",
    ),
    _group(
        "Sports",
        "Cycling",
        "road bike helmet, cycling gloves, bike pump, saddle bag, bicycle lamp",
        "the daily commute, gravel roads, a tour over the Alps, riding in traffic at night",
    ),
    _group(
        "Sports",
        "Camping",
        "two-person tent, sleeping bag, camping stove, hiking backpack, head torch",
        "nights below zero, a week without a road, festivals, light travel on foot",
    ),
    _group(
        "Sports",
        "Swimming",
        "swimming goggles, swimsuit, swim fins, dry bag, beach towel",
        "training in the pool, open water, the first lessons of a child, holidays by the sea",
    ),
    _group(
        "Home",
        "Kitchen",
        "chef's knife, cast iron pan, espresso machine, food processor, cutting board",
        "a small kitchen, baking bread at the weekend, cooking for ten, the first cup at dawn",
    ),
    _group(
        "Home",
        "Furniture",
        "standing desk, bookshelf, armchair, oak dining table, bedside table",
        "a home office, narrow rooms, evenings with a book, a family that grows",
    ),
    _group(
        "Home",
        "Lighting",
        "floor lamp, reading light, pendant lamp, strip of lights, table lamp",
        "tired eyes, a dark corridor, the place where you work, dinners that last",
    ),
    _group(
        "Home",
        "Bedding",
        "down duvet, linen sheets, memory foam pillow, wool blanket, mattress topper",
        "hot summers, cold bedrooms, sleepers with a stiff neck, guests who stay",
    ),
    _group(
        "Electronics",
        "Audio",
        "wireless headphones, bookshelf speaker, turntable, microphone, portable radio",
        "open-plan offices, podcasts at home, vinyl collections, a loud train",
    ),
    _group(
        "Electronics",
        "Computers",
        "laptop stand, mechanical keyboard, external hard drive, ultrawide monitor, webcam",
        "video calls, photo archives, long days of programming, working on the move",
    ),
    _group(
        "Electronics",
        "Photography",
        "mirrorless camera, tripod, camera bag, prime lens, memory card",
        "portraits, birds at a distance, the night sky, a journey with one bag",
    ),
    _group(
        "Garden",
        "Plants",
        "raised bed, flower pots, seed set, greenhouse, compost bin",
        "a balcony in the shade, tomatoes of your own, bees, the first garden",
    ),
    _group(
        "Garden",
        "Tools",
        "pruning shears, cordless mower, garden hose, spade, leaf blower",
        "old fruit trees, a lawn with slopes, heavy clay, tidy paths in autumn",
    ),
    _group(
        "Toys",
        "Building",
        "wooden blocks, marble run, train set, construction kit, magnetic tiles",
        "rainy afternoons, small hands, patient grandparents, future engineers",
    ),
    _group(
        "Toys",
        "Outdoor",
        "kite, scooter, sand toys, balance bike, climbing frame",
        "windy beaches, the way to school, a park round the corner, birthday parties",
    ),
    _group(
        "Fashion",
        "Outerwear",
        "rain jacket, winter coat, down vest, softshell jacket, wool scarf",
        "a wet spring, minus twenty degrees, the city in the rain, walks with the dog",
    ),
)

BRANDS = _listed(
    "Alder & Finch, Borealis, Cobalt Works, Drift, Eastwind, Fjordlight, Granite Peak, Hollow Oak, "
    "Ironbridge, Juniper, Kestrel, Lumen, Meridian, Northbound, Osprey Lane, Pinewood, Quarry, "
    "Riverstone, Saltmarsh, Tandem, Umbra, Vantage, Wren, Yarrow"
)
COLOURS = _listed(
    "black, white, red, forest green, navy blue, sand, slate grey, mustard, burgundy, turquoise, "
    "orange, olive, lilac, copper"
)
MATERIALS = _listed(
    "recycled polyester, merino wool, brushed aluminium, solid oak, organic cotton, bamboo, "
    "stainless steel, ripstop nylon, cork, tempered glass, birch plywood, waxed canvas"
)
QUALITIES = _listed(
    "light, sturdy, quiet, waterproof, foldable, soft, precise, warm, compact, breathable, "
    "repairable, generous, classic, ergonomic"
)
SENTENCES = (
    "Made of {material}, it is {quality} and stays so for years.",
    "The {colour} finish hides what everyday use does to it.",
    "Weighs {weight} grams and fits where others do not.",
    "Every part can be replaced; the instructions fit on one page.",
    "Our testers used it for {months} months and did not want to give it back.",
    "Comes with a warranty of {years} years and a bag to keep it in.",
    "Cleaned with water and a cloth, no special care needed.",
    "Available in {colour} and {colour2}; sizes run true.",
    "Designed for beginners and loved by those who are not.",
    "The {material} comes from a mill that has been in the family since {since}.",
)

FIRST_NAMES = _listed(
    "Ada, Bao, Chiara, Deniz, Elif, Femi, Greta, Hana, Ines, Jonas, Kofi, Leïla, Mateo, Noor, "
    "Olga, Priya, Quentin, Rosa, Søren, Tomás, Uma, Viktor, Wanjiru, Yuki"
)
LAST_NAMES = _listed(
    "Almeida, Bauer, Chen, Dubois, Eriksen, Fofana, García, Hoffmann, Ito, Jansen, Kowalska, "
    "Lindqvist, Moreau, Nguyen, Okafor, Petrov, Rossi, Sato, Tanaka, Weber"
)
NOTES = (
    "Please leave the parcel with the neighbour on the second floor.",
    "It is a present: no invoice in the box, please, and wrap it if you can.",
    "The last one arrived with a broken handle, please check this one.",
    "Deliver on a weekday after five, the bell does not work.",
    "Needed before the weekend, otherwise please cancel.",
    "Wrong size last time; I would like to exchange it for a larger one.",
    "Can you combine this with my other order to save a parcel?",
    "",
)
