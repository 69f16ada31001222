"""Put a request into words, by templates in TOML that can be edited.

design -> [prompt] -> generator -> archive

A template file holds ``age_bands``, ``wordings`` and a table of words for every factor::

    age_bands = ["adult", "old"]
    wordings = ["A {projection} of a {age} {sex}. {finding}", "..."]

    [finding]                                # by pattern; "" is the healthy half
    "" = "The lungs are clear."
    "lobar" = "{extent} consolidation of the {lobes} lobe."

A wording is a whole prompt, the same for both labels but for its ``{finding}``. A request that is
refused in one wording is asked again in the next.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from service.files import sha256
from training.generate.design import AGE_BANDS, PromptRequest, levels
from training.generate.request import Fact

FOLDER = Path(__file__).with_name("prompts")
# Placeholders that are computed, and the fact that each tells.
_COMPUTED = {"age": "age_months", "age_years": "age_months", "finding": "pattern"}


class InvalidTemplates(ValueError):
    """A template file lacks words for a level, or names a factor that does not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    """One family of prompts.

    Attributes
    ----------
    wordings
        Whole prompts with placeholders; at least one.
    words
        Words for each level, by factor; ``finding`` by pattern.
    age_bands
        The age bands that the generator is asked for.
    digest
        First 12 hex digits of the file's SHA-256: other words, other images.
    """

    wordings: tuple[str, ...]
    words: Mapping[str, Mapping[str, str]]
    age_bands: tuple[str, ...]
    digest: str

    @classmethod
    def load(cls, path: Path) -> "Templates":
        """Read a TOML file.

        Raises
        ------
        InvalidTemplates
            (A ValueError.) Naming the factor and the level that is wrong.
        FileNotFoundError
            If there is no such file.
        """
        content = path.read_bytes()
        try:
            table = tomllib.loads(content.decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidTemplates(f"{path.name}: {error}") from error
        templates = cls(
            wordings=tuple(table.pop("wordings", ())),
            age_bands=tuple(table.pop("age_bands", AGE_BANDS)),
            words=table,
            digest=sha256(content)[:12],
        )
        templates.check(path.name)
        return templates

    def check(self, name: str) -> None:
        """Raise :class:`InvalidTemplates` unless every request can be put into words."""
        unknown = set(self.age_bands) - set(AGE_BANDS)
        if not self.wordings or not self.age_bands or unknown:
            raise InvalidTemplates(
                f"{name}: it needs wordings, and age_bands out of {', '.join(AGE_BANDS)}"
            )
        for factor, words in self.words.items():
            if not isinstance(words, dict):
                raise InvalidTemplates(f"{name}: {factor} is not a table of words by level")
        known = levels()
        for factor in self._named():
            if factor in _COMPUTED and factor != "finding":
                continue
            needed = known.get("pattern" if factor == "finding" else factor)
            if needed is None:
                raise InvalidTemplates(f"{name}: {{{factor}}} is not a factor")
            missing = [level for level in needed if level not in self.words.get(factor, {})]
            if factor in ("lobes", "extent", "pattern"):
                missing = [level for level in missing if level]
            if missing:
                raise InvalidTemplates(f"{name}: [{factor}] lacks words for {missing[0]!r}")

    def facts(self, request: PromptRequest) -> dict[str, Fact]:
        """What the prompt says of the image, so that nothing is recorded that was not asked.

        ``age_band``, ``view`` and the lesion's facts are always there; ``view`` is empty where
        the wordings leave the projection to the generator.
        """
        named = {_COMPUTED.get(name, name) for name in self._named()}
        kept = named | {"age_band", "pattern", "lobes", "extent"}
        facts = {name: fact for name, fact in request.facts.items() if name in kept}
        return facts | {"view": request.facts["view"] if "projection" in named else ""}

    def prompt(self, request: PromptRequest, wording: int) -> str:
        """Write the request in wording number ``wording``, on one line."""
        months = int(request.facts["age_months"])
        young = request.facts["age_band"] == "infant"
        words = {
            factor: self.words[factor].get(str(level), "")
            for factor, level in request.facts.items()
            if factor in self.words
        }
        words["age"] = f"{months}-month-old" if young else f"{months // 12}-year-old"
        words["age_years"] = str(months // 12)
        finding = self.words["finding"][str(request.facts["pattern"])]
        words["finding"] = finding.format_map(words)
        return " ".join(self.wordings[wording].format_map(words).split())

    def _named(self) -> list[str]:
        """Placeholders of all wordings and findings, in order, without repetition."""
        texts = (*self.wordings, *self.words.get("finding", {}).values())
        fields = (name for text in texts for _, name, _, _ in Formatter().parse(text) if name)
        return list(dict.fromkeys((*fields, "finding")))
