"""Medications: from product codes and names to ingredients, and whether a product is known well enough to say what it is not.

A name is cut into words. Ingredients (`ingredients.csv`, longest name first, with common misspellings and abbreviations) and brands
(`brands.csv`) are found anywhere in it. A name is *covered* when every remaining word is a number, a strength, a unit, a salt or a dose
form (`medication_words.csv`); what stands in square brackets is a brand in RxNorm's naming and needs no cover once an ingredient is
known. A product is *recognised* when it has an ingredient and every name that text or a drug code system gives it is covered: then,
and only then, may "holds no statin" be concluded. One unknown word leaves that open.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gateway.terminology.code import Code

_BRACKETED = re.compile(r"\[[^\]]*\]")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+(?:[.,]\d+)*")
_NUMBER = re.compile(r"^\d")
_LABEL_NUMBER = re.compile(r"\bnda\d+\b", re.IGNORECASE)  # RxNorm puts a New Drug Application number before some names

NamedWords = Mapping[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]]


class MedicationFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a product. `groups` are those of its ingredients; see the module for `recognised`."""

    ingredients: tuple[str, ...]
    groups: frozenset[str]
    recognised: bool


class NameReading(msgspec.Struct, frozen=True):
    """One name: ingredients found, whether all words are accounted for, whether it is a form that does not act on the whole body."""

    ingredients: tuple[str, ...]
    covered: bool
    local: bool


class MedicationTable(msgspec.Struct, frozen=True, kw_only=True):
    """Names and codes of ingredients, and the words that may stand beside them.

    `names`: first word -> ((all words, ingredients), ...), longest first. `by_code`: (system, code) -> ingredients.
    """

    groups: Mapping[str, tuple[str, ...]]  # ingredient -> groups
    by_code: Mapping[tuple[str, str], tuple[str, ...]]
    code_groups: Mapping[tuple[str, str], tuple[str, ...]]
    names: NamedWords
    words: frozenset[str]
    local_words: frozenset[str]
    naming_systems: frozenset[str]

    def place(self, codes: Sequence[Code], text: str) -> MedicationFacts:
        """Return the ingredients and groups of a product, from all its codes and names."""
        listed = [code for code in codes if (code.system, code.code) in self.by_code]
        named = [text, *(code.display for code in codes if not code.system or code.system in self.naming_systems)]
        local = [code.display for code in codes if code.system and code.system not in self.naming_systems]
        judged = [self.read_name(name) for name in dict.fromkeys(filter(str.strip, named))]
        others = [self.read_name(name) for name in dict.fromkeys(filter(str.strip, local))]
        if not judged:  # a hospital's own formulary: its displays are all there is
            judged, others = others, []
        found = dict.fromkeys(name for code in listed for name in self.by_code[code.system, code.code])
        found.update(dict.fromkeys(name for reading in judged for name in reading.ingredients))
        # Beside a proper name such a display is often a class ("calcium channel blockers"): only what a group needs is taken from it.
        found.update(dict.fromkeys(name for reading in others for name in reading.ingredients if self.groups.get(name)))
        local_form = any(reading.local for reading in judged)
        # "timolol eye drops; lisinopril 10 mg": which of the two is the local one, the words do not say, so neither yes nor no.
        told_apart = not (local_form and len(found) > 1)
        return MedicationFacts(
            ingredients=tuple(sorted(found)),
            groups=self._groups_of(found, listed, local=local_form),
            recognised=bool(found) and told_apart and all(reading.covered for reading in judged),
        )

    def _groups_of(self, ingredients: Iterable[str], listed: Iterable[Code], *, local: bool) -> frozenset[str]:
        if local:  # eye drops with timolol treat no blood pressure
            return frozenset()
        by_name = {group for name in ingredients for group in self.groups.get(name, ())}
        return frozenset(by_name.union(*(self.code_groups.get((code.system, code.code), ()) for code in listed)))

    def read_name(self, name: str) -> NameReading:
        """Find the ingredients in one name and tell whether nothing unknown is left."""
        plain = name.lower()
        if "nda" in plain:
            plain = _LABEL_NUMBER.sub(" ", plain)
        if "[" not in plain:
            found, left, local = self._scan(_WORD.findall(plain))
            return NameReading(tuple(dict.fromkeys(found)), not left, local)
        outside, left, local = self._scan(_WORD.findall(_BRACKETED.sub(" ", plain)))
        inside, inside_left, _ = self._scan([word for part in _BRACKETED.findall(plain) for word in _WORD.findall(part)])
        return NameReading(tuple(dict.fromkeys((*outside, *inside))), not left and (bool(outside) or not inside_left), local)

    def _scan(self, words: Sequence[str]) -> tuple[list[str], list[str], bool]:
        """Return (ingredients, unknown words, whether a word of a local form stands there)."""
        found: list[str] = []
        left: list[str] = []
        local = False
        at = 0
        while at < len(words):
            word = words[at]
            step = 1
            for candidate, ingredients in self.names.get(word, ()):
                if tuple(words[at : at + len(candidate)]) == candidate:
                    found += ingredients
                    step = len(candidate)
                    break
            else:
                local = local or word in self.local_words
                if word not in self.words and _NUMBER.match(word) is None:
                    left.append(word)
            at += step
        return found, left, local


def build_names(pairs: Iterable[tuple[str, tuple[str, ...]]]) -> NamedWords:
    """Index (name, ingredients) by first word, longest name first."""
    names: dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
    for name, ingredients in pairs:
        words = tuple(_WORD.findall(name.lower()))
        if words:
            names.setdefault(words[0], []).append((words, ingredients))
    return {first: tuple(sorted(found, key=lambda pair: -len(pair[0]))) for first, found in names.items()}
