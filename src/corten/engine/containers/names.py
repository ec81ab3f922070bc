"""Names for containers that were given none: an adjective and the surname of someone who moved computing on. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache

_ADJECTIVES = """
able agile airy amber ample apt arctic avid awake azure balmy bold brave breezy bright brisk calm candid careful
cheery civil clean clear clever cosy crisp curious daring deft dewy eager early earnest easy even exact fair fast
fearless festive fine firm fleet fluent fond frank free fresh gentle gifted glad golden grand grateful handy happy
hardy hearty helpful honest humble ideal jolly joyful keen kind large light lively logical loyal lucid lucky merry
mellow mild modest neat nimble noble open orderly patient playful plucky polite proud pure quick quiet ready rosy
serene sharp silent simple sincere smooth snug sober solid spry stable steady stoic sunny sure swift tidy trim true
upbeat valiant vivid warm wise witty worthy zesty
"""
_SURNAMES = """
abel aiken allen amdahl backus banach bartik bellard bernerslee boole booth borg brattain brooks burks bush cantor
carmack cerf cheriton chomsky church codd cohen conway corbato cray crowther curry dahl davies deutsch diffie dijkstra
eckert engelbart erlang estrin euclid euler fano feinler feynman floyd forrester frege gauss gilbreth godel goldwasser
gosling graham granville gray hamilton hamming hartley hartree hejlsberg hellman hennessy hoare holberton hopper
huffman ichbiah iverson joy kahan kahn karp kay keller kemeny kernighan kilburn kilby kleene knuth kolmogorov kowalski
kuck kurtz lamport lampson landin leibniz licklider liskov lovelace marcus markov matsumoto mauchly mccarthy mcilroy
meltzer merkle metcalfe milner minsky moore naur nelson newell noether noyce nygaard ousterhout papert pascal patterson
perlis perlman postel rabin ramdas randell reynolds ritchie rivest samuel schickard scott shamir shannon shaw shockley
simon spence stibitz strachey stroustrup sutherland sussman tanenbaum tarjan thacker thompson torvalds turing ulam
valiant vaughan vonneumann wall wegner weizenbaum wexelblat widlar wilkes wilkinson wing wirth yao yourdon zadeh zuse
"""
_TRIES = 6


@lru_cache(maxsize=1)
def _words() -> tuple[list[str], list[str]]:
    return _ADJECTIVES.split(), _SURNAMES.split()


def random_name(is_taken: Callable[[str], bool], rng: random.Random) -> str:
    """A free name. When names get scarce a digit is added, and at last digits until one is free."""
    adjectives, surnames = _words()
    for attempt in range(_TRIES):
        name = f"{rng.choice(adjectives)}_{rng.choice(surnames)}"
        if attempt:
            name += str(rng.randrange(10))
        if not is_taken(name):
            return name
    while True:
        name = f"{rng.choice(adjectives)}_{rng.choice(surnames)}{rng.randrange(10**6)}"
        if not is_taken(name):
            return name
