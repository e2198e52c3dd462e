"""The words of the sports corpus: invented names, and what each sport calls its things. Data only.

Everything is listed by split; no name, venue, time, cause, plan or body part of one split occurs in another.
"""

from __future__ import annotations

__all__ = [
    "ATHLETES",
    "CAUSES",
    "CLUBS",
    "FEATS",
    "FIRST_NAMES",
    "GAMES",
    "KINDS",
    "LAST_NAMES",
    "PARTS",
    "PLANS",
    "SPORT_NAMES",
    "TEAM_SPORTS",
    "TIMES",
    "TOWNS",
    "VENUES",
    "VENUE_KINDS",
]

TEAM_SPORTS = ("football", "basketball", "cricket", "ice hockey", "rugby")

_ANY = ("win", "injury", "hire", "sack", "retire")
# What can happen in a sport. A win is listed twice: it is what sports pages are made of.
KINDS: dict[str, tuple[str, ...]] = {
    **{sport: ("win", *_ANY, "feat", "move", "postponed") for sport in TEAM_SPORTS},
    "tennis": ("win", *_ANY, "postponed"),
    "cycling": ("win", *_ANY, "move"),
    "athletics": ("win", *_ANY),
    "swimming": ("win", *_ANY),
}

TOWNS = {
    "train": """Harrowmere Velmouth Osterby Quillhaven Dunmarrow Tarnwick Pellsworth Crannoch Ivelstow Bramhollow
        Skerrington Wexlow Marrowgate Fennimoor Altonby Thornquay Lisbrook Garrowdale Stellmark Ombersea Rudgeford
        Haxleigh Noverton Callowick""",
    "validation": """Brindlemoss Yarrowfold Estermond Kilvarren Sorrelport Peverstone Drumhallow Aldergrave Moorcastle
        Tessingham Windlebeck Corvenna""",
    "test": """Jasperholt Umberton Vintrose Greyfallow Zellanby Hollinmouth Ardenvale Pomfrey Sanderlough Eskendale
        Bellwyther Northaven Wrenstead Laxborough""",
}
CLUBS = {
    "train": """Rovers Comets Athletic Herons Wanderers Foxes Mariners Pilots Otters Ramblers Lanterns Beacons Millers
        Thistles""",
    "validation": "Albion Badgers Sailors Vikings Swifts Bolts Poppies Archers",
    "test": "United Falcons Rangers Pioneers Kestrels Stags Harriers Cobblers Magpies",
}
FIRST_NAMES = {
    "train": """Ilara Benno Tovi Marsel Odina Kester Ruvan Selwin Jorin Nadelle Petrik Liorne Osmer Tamsel Quillon
        Daveth Mirelle Corin Ansa Bram Ysolde Hadrik Lenka Farrow""",
    "validation": "Ottoline Zev Karis Wendric Amaya Tiber Roswitha Pell Ingo Sabra Lucan Merit",
    "test": "Evander Nella Casimir Brona Tycho Winifer Dorian Sunniva Abel Greta Leopold Hester Milo Anouk",
}
LAST_NAMES = {
    "train": """Askvale Torquist Bellamont Drews Fenwarden Garrick Holloran Ivesley Jessop Kaldermann Lorrimer Mossgrave
        Nettleby Orsted Penhallick Quarles Rosander Stavely Tindrell Umbers Vasko Wetherlow Yelland Zander Brackwell
        Crossan Delamare Eddowes Farnaby Grenfold Hathersay Inskip Jorgeby Kettleman Lindholt Marchbank Norridge
        Oakshott Pellander Rusholt""",
    "validation": """Abernett Bexley Cawdray Dunstable Ellerman Foxcroft Galloway Hensby Ismond Jarrowell Kinsellar
        Lovatte Mirfield Nordahl Osgathorp Pruett Quennell Ridsdale Sallowby Thackeran""",
    "test": """Alvington Bosanko Corrigall Dellwood Entwhist Fairburn Gisborne Hartigall Illingstone Jevons Kirkaldane
        Ludlam Maddoxon Nesbury Orrell Pargeter Rathbourne Sommerby Trevanny Urswick Vennor Whitlam Yarborne Zellick""",
}
VENUES = {
    "train": "Kestlewood Larch Bridgefoot Amberley Queensgate Tidewater Foundry Copperhill Elmfield Saltmarsh",
    "validation": "Primrose Gatehouse Millpond Cedarbank Ironworks Skylark",
    "test": "Harbourside Juniper Weavers Stonebridge Orchard Lakeshore Clocktower",
}
VENUE_KINDS: dict[str, dict[str, str]] = {
    "train": {
        "football": "Park",
        "rugby": "Park",
        "cricket": "Oval",
        "basketball": "Arena",
        "ice hockey": "Arena",
        "tennis": "Courts",
        "cycling": "Circuit",
        "athletics": "Stadium",
        "swimming": "Pool",
    },
    "validation": {
        "football": "Road",
        "rugby": "Road",
        "cricket": "Meadow",
        "basketball": "Hall",
        "ice hockey": "Hall",
        "tennis": "Lawns",
        "cycling": "Loop",
        "athletics": "Track",
        "swimming": "Baths",
    },
    "test": {
        "football": "Ground",
        "rugby": "Ground",
        "cricket": "Green",
        "basketball": "Dome",
        "ice hockey": "Dome",
        "tennis": "Gardens",
        "cycling": "Raceway",
        "athletics": "Bowl",
        "swimming": "Lido",
    },
}
TIMES = {
    "train": """on Saturday|on Wednesday|on Sunday afternoon|on Monday night|last weekend|on Thursday evening|on Friday
        |last week|on Tuesday""",
    "validation": "on 4 May|on 12 June|in early July|on 21 September|in late October|on 9 March",
    "test": """yesterday|this morning|earlier today|on New Year's Day|over the holidays|two days ago
        |on the first day of spring""",
}
# Each cause has two wordings; a frame holds the cause, a sentence one wording.
CAUSES = {
    "train": """heavy rain=a downpour|a power cut=an electricity failure|thick fog=poor visibility
        |a frozen surface=hard frost|an outbreak of flu=influenza in both camps|high winds=a gale""",
    "validation": """a snowstorm=a blizzard|a burst pipe=a water leak|a rail strike=a walkout by train crews
        |extreme heat=a heatwave""",
    "test": """flooding=high water|a gas leak=escaping gas|a thunderstorm=lightning overhead
        |a lack of referees=a shortage of officials|a damaged roof=holes in the roof""",
}
PARTS = {
    "train": "knee shoulder ankle wrist hamstring groin",
    "validation": "elbow hip foot neck",
    "test": "calf rib thigh back thumb",
}
PLANS = {
    "train": "teacher|chef|farmer|nurse|painter|carpenter|bus driver|baker",
    "validation": "gardener|librarian|pharmacist|beekeeper",
    "test": "journalist|lawyer|photographer|florist|firefighter|potter",
}

SPORT_NAMES: dict[str, tuple[str, ...]] = {
    "football": ("football", "soccer"),
    "basketball": ("basketball",),
    "tennis": ("tennis",),
    "cycling": ("cycling", "bike racing"),
    "athletics": ("athletics", "track and field"),
    "cricket": ("cricket",),
    "ice hockey": ("ice hockey", "hockey"),
    "swimming": ("swimming",),
    "rugby": ("rugby",),
}
ATHLETES: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "football": ("footballer", "soccer player"),
        "basketball": ("basketball player", "basketball professional"),
        "tennis": ("tennis player", "tennis professional"),
        "cycling": ("cyclist", "racing cyclist"),
        "athletics": ("runner", "track athlete"),
        "cricket": ("cricketer", "cricket player"),
        "ice hockey": ("ice hockey player", "hockey player"),
        "swimming": ("swimmer", "competitive swimmer"),
        "rugby": ("rugby player", "rugby professional"),
    },
    "validation": {
        "football": ("football star", "soccer star"),
        "basketball": ("basketball star", "star basketball player"),
        "tennis": ("tennis star", "star tennis player"),
        "cycling": ("cycling star", "star cyclist"),
        "athletics": ("athletics star", "star runner"),
        "cricket": ("cricket star", "star cricketer"),
        "ice hockey": ("ice hockey star", "hockey star"),
        "swimming": ("swimming star", "star swimmer"),
        "rugby": ("rugby star", "star rugby player"),
    },
    "test": {
        "football": ("football ace", "soccer ace"),
        "basketball": ("basketball ace", "leading basketball player"),
        "tennis": ("tennis ace", "leading tennis player"),
        "cycling": ("cycling ace", "bike racing ace"),
        "athletics": ("athletics ace", "track and field ace"),
        "cricket": ("cricket ace", "leading cricketer"),
        "ice hockey": ("ice hockey ace", "hockey ace"),
        "swimming": ("swimming ace", "leading swimmer"),
        "rugby": ("rugby ace", "leading rugby player"),
    },
}
GAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "football": ("football match", "soccer game"),
        "basketball": ("basketball game", "basketball match"),
        "tennis": ("tennis match", "match on the tennis court"),
        "cycling": ("cycling race", "bike race"),
        "athletics": ("track race", "running race"),
        "cricket": ("cricket match", "cricket game"),
        "ice hockey": ("ice hockey game", "hockey match"),
        "swimming": ("swimming race", "race in the pool"),
        "rugby": ("rugby match", "rugby game"),
    },
    "validation": {
        "football": ("football fixture", "soccer tie"),
        "basketball": ("basketball fixture", "basketball tie"),
        "tennis": ("tennis tie", "tie on the tennis court"),
        "cycling": ("cycling sprint", "bike sprint"),
        "athletics": ("800 metres", "two-lap footrace"),
        "cricket": ("cricket fixture", "cricket tie"),
        "ice hockey": ("ice hockey fixture", "hockey tie"),
        "swimming": ("swimming event", "event in the pool"),
        "rugby": ("rugby fixture", "rugby tie"),
    },
    "test": {
        "football": ("football contest", "soccer encounter"),
        "basketball": ("basketball contest", "basketball encounter"),
        "tennis": ("tennis contest", "contest on the tennis court"),
        "cycling": ("cycling final", "final on two wheels"),
        "athletics": ("5,000 metres", "five-kilometre run"),
        "cricket": ("cricket contest", "cricket encounter"),
        "ice hockey": ("ice hockey contest", "hockey encounter"),
        "swimming": ("swimming final", "final in the pool"),
        "rugby": ("rugby contest", "rugby encounter"),
    },
}
# What a player did n times, or, in basketball, the points scored.
FEATS: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "football": ("scored {n} goals", "found the net {n} times"),
        "basketball": ("scored {n} points", "poured in {n} points"),
        "cricket": ("took {n} wickets", "dismissed {n} batters"),
        "ice hockey": ("scored {n} goals", "beat the goalkeeper {n} times"),
        "rugby": ("scored {n} tries", "crossed the line {n} times"),
    },
    "validation": {
        "football": ("struck {n} times", "hit {n} goals"),
        "basketball": ("racked up {n} points", "collected {n} points"),
        "cricket": ("claimed {n} wickets", "removed {n} batters"),
        "ice hockey": ("fired in {n} goals", "slotted home {n} times"),
        "rugby": ("ran in {n} tries", "touched down {n} times"),
    },
    "test": {
        "football": ("netted {n} times", "got {n} of the goals"),
        "basketball": ("put up {n} points", "sank shots worth {n} points"),
        "cricket": ("got {n} batters out", "picked up {n} wickets"),
        "ice hockey": ("put {n} pucks in the goal", "tallied {n} goals"),
        "rugby": ("grounded {n} tries", "went over for a try {n} times"),
    },
}
