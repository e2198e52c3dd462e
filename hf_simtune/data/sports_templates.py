"""The sentences of the sports corpus, with gaps. Data only.

One template a line, by kind of event and split; no template of one split occurs in another. ``[a|b]`` is a choice of
words. The gaps: ``{w}`` and ``{l}`` winner and loser, ``{a}`` and ``{b}`` other sides, ``{p}`` a player, ``{c}`` a
coach, ``{n}`` a number, ``{did}`` what the player did n times; ``{adv}`` (3-1, by 23 runs) and ``{adj}`` (3-1, 23-run)
the result; ``{at}`` and ``{on}`` place and time with the space before them, ``{At}`` and ``{On}`` the same as an
opening with its comma, each of which may stay empty; ``{were}`` is was for a person; ``{a:x}`` is x with its article.
A template without one of the important gaps of its kind tells the event with that detail missing.
"""

from __future__ import annotations

__all__ = ["TEMPLATES"]

TEMPLATES: dict[str, dict[str, str]] = {
    "win": {
        "train": """
            {w} [beat|defeated|overcame] {l} {adv} in the {game}{at}{on}.
            {l} [lost to|went down to] {w} {adv} in the {game}{at}{on}.
            {On}{w} [got the better of|saw off] {l}{at}, [winning|taking] the {game} {adv}.
            {l} {were} beaten {adv} by {w} in the {game}{at}{on}.
            {a:adj} [win|victory] for {w} over {l} in the {game}{at}{on}.
            {a:adj} [defeat|loss] for {l} at the hands of {w} in the {game}{at}{on}.
            "We were second best," said the camp of {l} after {w} won the {game} {adv}{at}{on}.
            {At}the {game} between {l} and {w} went to {w} {adv}{on}.
            {On}{l} [fell|succumbed] {adv} against {w}{at} in a hard-fought {game}.
            {w} [won|took] the {game}{at} {adv}, with {l} [beaten|on the losing side]{on}.
            {w} came out on top against {l} in the {game}{at}{on}.
            {l} lost {adv} in the {game}{at}{on}.
        """,
        "validation": """
            {w} [edged out|toppled] {l} {adv} in the {game}{at}{on}.
            {On}there was disappointment{at} for {l}, who came off worse against {w} {adv} in the {game}.
            The honours went {adv} to {w} as {l} bowed out of the {game}{at}{on}.
            {l} could not [stop|hold off] {w}, who triumphed {adv} in the {game}{at}{on}.
            {w} proved too strong for {l} in the {game}{at}{on}.
            {w} triumphed {adv} in the {game}{at}{on}.
        """,
        "test": """
            {w} [outplayed|downed] {l} {adv} in the {game}{at}{on}.
            {On}{l} suffered {a:adj} setback{at} in the {game} with {w}.
            {a:adj} success in the {game} against {l} delighted {w}{at}{on}.
            {l} had to bow to {w} {adv} in the {game}{at}{on}.
            {At}{w}, taking on {l} in the {game}{on}, prevailed {adv}.
            After {a:adj} finish to the {game}{at}, {l} went home unhappy while {w} celebrated{on}.
            {w} prevailed over {l} in the {game}{at}{on}.
            {l} had to bow {adv} in the {game}{at}{on}.
        """,
    },
    "feat": {
        "train": """
            {p} {did} for {a} against {b} in the {game}{at}{on}.
            {On}{a} [owed much to|could thank] {p}, who {did} against {b} in the {game}{at}.
            {b} had no answer to {p} of {a}, who {did} in the {game}{at}{on}.
            It was {p} who {did} when {a} [met|played] {b} in the {game}{at}{on}.
            "Nobody could stop {p}," said a supporter of {b} after the {a} player {did} in the {game}{at}{on}.
            {At}{p} {did} in the {game} between {a} and {b}{on}, to the joy of the {a} fans.
            In the {game} with {b}{at}, {a} saw their own {p} shine: the player {did}{on}.
            {p} {did} for {a} in the {game}{at}{on}.
            {p} shone for {a} against {b} in the {game}{at}{on}.
        """,
        "validation": """
            {On}{p} was the star for {a}{at} and {did} in the {game} against {b}.
            The defence of {b} suffered{at}, as {p} {did} for {a} in the {game}{on}.
            {a} fielded {p}, and the player {did} in the {game} against {b}{at}{on}.
            {At}facing {b} in the {game}, {p} of {a} {did}{on}.
            {p} was the star for {a} in the {game} against {b}{at}{on}.
        """,
        "test": """
            Wearing the colours of {a}, {p} {did} in the {game} with {b}{at}{on}.
            {On}the crowd{at} rose to {p}, who {did} at the expense of {b} in the {game} for {a}.
            {b} suffered at the hands of {p}, who {did} to help {a} in the {game}{at}{on}.
            Much of the talk{on} after the {game}{at} was of {p}: against {b}, the {a} player {did}.
            {At}{a} relied on {p} in the {game} against {b}, and the player {did}{on}.
            In the {game}{at}, {p} {did} in the colours of {a}{on}.
        """,
    },
    "injury": {
        "train": """
            The {athlete} {p} will [miss|sit out] {n} weeks with {a:part} injury from training{at}{on}.
            {On}{p}, the {athlete}, [hurt|injured] {a:part} in training{at} and will be out for {n} weeks.
            {a:part} problem from training{at} [rules|puts] {athlete} {p} out for {n} weeks, doctors said{on}.
            {n} weeks on the sidelines for {athlete} {p} after {a:part} injury in training{at}{on}.
            Doctors told the {athlete} {p} to rest a damaged {part} for {n} weeks after training{at}{on}.
            {At}{athlete} {p} left training in pain with {a:part} injury and needs {n} weeks to recover, it emerged{on}.
            "It will take {n} weeks to heal," said {athlete} {p} of the {part} injury from training{at}{on}.
            The {athlete} {p} suffered {a:part} injury in training{at}{on}.
        """,
        "validation": """
            {athlete} {p} is [sidelined|unavailable] for {n} weeks because of a sore {part} after practice{at}{on}.
            {On}a scan after practice{at} showed {part} damage that keeps {p}, the {athlete}, idle for {n} weeks.
            There will be no {sport} for {p} for {n} weeks: the {part} gave way during practice{at}{on}.
            Treatment on the {part} will cost {athlete} {p} {n} weeks after practice{at}{on}.
            {athlete} {p} was hampered by a sore {part} during practice{at}{on}.
        """,
        "test": """
            {athlete} {p} faces {n} weeks of recovery from a bruised {part}, the result of a tumble{at}{on}.
            {On}it became clear that {p}, the {athlete}, strained {a:part} in a tumble{at} and is out for {n} weeks.
            {a:part} complaint means that {p} must take {n} weeks away from {sport} after a tumble{at}{on}.
            Fans of {athlete} {p} must wait {n} weeks while the {part} knocked in a tumble{at} mends, a physio said{on}.
            {At}a tumble left {athlete} {p} with {a:part} strain and a lay-off of {n} weeks{on}.
            {athlete} {p} was treated for a bruised {part} after a tumble{at}{on}.
        """,
    },
    "move": {
        "train": """
            The {athlete} {p} has [joined|signed for] {b} from {a} on {a:n}-year deal, it was announced{at}{on}.
            {On}{b} [signed|bought] {athlete} {p} from {a} for {n} years after talks{at}.
            {a} sold the {athlete} {p} to {b}, where a contract for {n} years was signed{at}{on}.
            {p} left {a} for {b}, the {sport} side, and put pen to paper{at} on {a:n}-year contract{on}.
            The transfer of {athlete} {p} to {b} from {a}, for {n} years, was completed{at}{on}.
            "I will miss {a}," said {athlete} {p} after moving to {b} for {n} years{at}{on}.
            {n} years is the length of the deal that takes {athlete} {p} from {a} to {b}, according to reports{at}{on}.
            {b} signed {athlete} {p} from {a}, it was announced{at}{on}.
        """,
        "validation": """
            {On}{athlete} {p} swapped {a} for {b}, agreeing{at} to stay for {n} years.
            {b} [captured|recruited] the {athlete} {p}, formerly of {a}, for {n} years{at}{on}.
            {a} let {athlete} {p} go, and {b} pounced{at}{on} with an offer of {n} years.
            After a spell with {a}, {athlete} {p} begins {a:n}-year stay with {b}, a spokesman said{at}{on}.
            {athlete} {p} swapped {a} for {b} after discussions{at}{on}.
        """,
        "test": """
            {On}{athlete} {p} bade farewell to {a}{at} to spend the next {n} years at {b}.
            {b} landed {athlete} {p} for {n} years in a switch from {a} that both clubs confirmed{at}{on}.
            No longer {a:a} player: {athlete} {p} committed to {b} for {n} years{at}{on}.
            {a} parted with {athlete} {p}, whose new employers, {b}, promised{at}{on} {n} years of work.
            {a:n}-year agreement reached{at} brings {athlete} {p} to {b} and ends the link with {a}, sources said{on}.
            {b} landed {athlete} {p} for {n} years, it was confirmed{at}{on}.
        """,
    },
    "hire": {
        "train": """
            {a} [appointed|hired] {c} as {sport} coach for {n} years, it was announced{at}{on}.
            {On}{c} was [named|unveiled] as the new {sport} coach of {a}{at}, on {a:n}-year contract.
            The {sport} coach {c} [took charge of|agreed to train] {a} for {n} years after talks{at}{on}.
            "I am proud to coach {a}," said {c}, who received {a:n}-year {sport} contract{at}{on}.
            {a} turned to {c} for the post of {sport} coach, which runs for {n} years, a statement said{at}{on}.
            New {sport} coach for {a}: {c} arrived{at}{on} on {a:n}-year deal.
            {a} hired {c} as {sport} coach, it was announced{at}{on}.
        """,
        "validation": """
            {On}{a} handed the {sport} reins to {c}{at} in {a:n}-year arrangement.
            {c} will guide {a} for the coming {n} years, the {sport} world learned{at}{on}.
            The search of {a} for {a:sport} mentor ended{at}{on} when {c} accepted the role for {n} years.
            {a} handed the {sport} reins to {c}{at}{on}.
        """,
        "test": """
            {On}{c} was entrusted{at} with the training of {a} for {n} years, in one of the biggest jobs in {sport}.
            {a} brought in {c} to run the {sport} programme for {n} years, a notice said{at}{on}.
            For {n} years, {c} is to be the {sport} boss of {a}, it was revealed{at}{on}.
            The vacancy for {a:sport} trainer with {a} was filled{at}{on} by {c}, whose papers cover {n} years.
            {a} brought in {c} to run the {sport} programme, a notice said{at}{on}.
        """,
    },
    "sack": {
        "train": """
            {a} [sacked|dismissed] {sport} coach {c} after {n} years, it was announced{at}{on}.
            {On}{c} was [fired|sacked] as {sport} coach of {a}{at} after {n} years in charge.
            The {sport} coach {c} lost the job at the side of {a}{at}{on}, {n} years after starting.
            "I gave {n} years to {a}," said {sport} coach {c} after being dismissed{at}{on}.
            {a} ended the {n}-year reign of {sport} coach {c} in a meeting{at}{on}.
            {c} is out as {sport} coach: {a} made the decision{at}{on} after {n} years together.
            {a} dismissed {sport} coach {c}, it was announced{at}{on}.
        """,
        "validation": """
            {On}{a} showed {sport} coach {c} the door{at} after {n} years.
            After {n} years, {c} was removed from the {sport} staff of {a}, people close to the talks said{at}{on}.
            The {n} years of {c} as the {sport} mentor of {a} came to a forced end{at}{on}.
            {a} showed {sport} coach {c} the door{at}{on}.
        """,
        "test": """
            {On}{c} was relieved{at} of {sport} duties with {a}, ending {n} years of work.
            {a} broke with {sport} boss {c} when {n} years were up, a notice said{at}{on}.
            It was goodbye{at}{on} for {sport} trainer {c}, whom {a} got rid of after {n} years.
            {n} years of partnership with {sport} boss {c} were cut short by {a}{at}{on}.
            {a} broke with {sport} boss {c}, a notice said{at}{on}.
        """,
    },
    "postponed": {
        "train": """
            The {game} between {a} and {b}{at} was [postponed|called off] because of {cause}{on}.
            {On}{cause} forced organisers to put off the {game} of {a} against {b}{at}.
            {a} and {b} must wait: their {game}{at} could not start owing to {cause}{on}.
            No {game} for {a} and {b}{at}{on}, as {cause} left no choice but to postpone.
            "We will play another day," said {a} after the {game} with {b}{at} fell victim to {cause}{on}.
            The referee called off the {game} of {a} against {b}{at}{on}, blaming {cause}.
            The {game} between {a} and {b}{at} was postponed{on}.
        """,
        "validation": """
            {On}spectators{at} were sent home when {cause} made the {game} of {a} and {b} impossible.
            {cause} led to the cancellation of the {game} that {a} and {b} were to hold{at}{on}.
            {a} and {b} will need a new date for their {game}{at}, lost to {cause}{on}.
            {a} and {b} will need a new date for their {game}{at}, it was decided{on}.
        """,
        "test": """
            {On}{a} {were} ready{at}, but {cause} meant that the {game} versus {b} was shelved.
            Due to {cause}, the {game} involving {a} and {b}{at} did not go ahead{on}.
            The {game} in which {a} {were} to meet {b} was scrapped{at} on account of {cause}{on}.
            With {cause} to contend with, officials{at} abandoned plans for {a} versus {b}, {a:sport} game{on}.
            The {game} involving {a} and {b}{at} did not go ahead{on}.
        """,
    },
    "retire": {
        "train": """
            The {athlete} {p} [retired|stepped down] after {n} seasons to become {a:plan}, it was announced{at}{on}.
            {On}{p} [ended|finished] {n} seasons as {a:athlete}{at}, with plans to work as {a:plan}.
            After {n} seasons in {sport}, {p} will start a new life as {a:plan}, friends said{at}{on}.
            "I have always wanted to be {a:plan}," said {athlete} {p}, who retired{at}{on} after {n} seasons.
            {n} seasons are enough for {athlete} {p}, who will train as {a:plan}, a letter read out{at}{on} says.
            Retirement for {athlete} {p} follows {n} seasons, and the next job is {a:plan}'s, guests heard{at}{on}.
            The {athlete} {p} retired after {n} seasons, it was announced{at}{on}.
        """,
        "validation": """
            {On}{athlete} {p} called time{at} on a career of {n} seasons, choosing the path of {a:plan}.
            {p} is swapping {sport} for the trade of {a:plan} when {n} seasons are done, relatives said{at}{on}.
            A career of {n} seasons closed{at}{on} as {athlete} {p} opted to earn a living as {a:plan}.
            {athlete} {p} called time on a career of {n} seasons{at}{on}.
        """,
        "test": """
            {On}{athlete} {p} quit{at} with {n} seasons behind and the life of {a:plan} ahead.
            {p} gives up {sport} following {n} seasons and hopes to make it as {a:plan}, a note said{at}{on}.
            The last of {n} seasons is over for {athlete} {p}, who told guests{at}{on} about a wish to be {a:plan}.
            Having competed for {n} seasons, {athlete} {p} said goodbye{at}{on} and looks forward to days as {a:plan}.
            {athlete} {p} quit with {n} seasons behind, a note said{at}{on}.
        """,
    },
}
