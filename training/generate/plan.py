"""A design in words: what a data set drawn from prompts asks for, request by request."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from training.generate.archive import read_records
from training.generate.design import PromptRequest, balanced_draw, draw_requests
from training.generate.manifest import check_lock
from training.generate.prompt import Templates
from training.generate.request import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every request of a data set.

    Attributes
    ----------
    requests
        By digest, pair by pair; the digest names the image's files.
    templates
        What puts them into words.
    generation
        What is common to them, and what the folder is locked to.
    seed
        Of the design.
    """

    requests: Mapping[str, PromptRequest]
    templates: Templates
    generation: Mapping[str, Fact | None]
    seed: int

    @classmethod
    def draw(cls, pairs: int, seed: int, templates: Path, **generation: Fact | None) -> "Plan":
        """Draw the design of ``pairs`` pairs; a larger one later holds the same requests.

        Parameters
        ----------
        pairs, seed
            Of the design.
        templates
            TOML file of prompts.
        generation
            ``generator``, and whatever else changes every image.
        """
        words = Templates.load(templates)
        common = generation | {"version": words.digest, "seed": seed}
        drawn = draw_requests(seed, pairs, words.age_bands)
        requests = {request.digest(**common): request for request in drawn}
        return cls(requests=requests, templates=words, generation=common, seed=seed)

    def partners(self) -> dict[str, str]:
        """The other half of each request's pair."""
        names = list(self.requests)
        pairs = list(zip(names[::2], names[1::2], strict=True))
        return dict(pairs) | {second: first for first, second in pairs}

    def prompt(self, name: str, refusals: int = 0) -> tuple[int, str]:
        """Wording and prompt of a request after so many refusals.

        Both halves of a pair begin with the same wording, equally often each.
        """
        wordings = range(len(self.templates.wordings))
        request = self.requests[name]
        first = balanced_draw(self.seed, "wording", wordings, request.pair)
        wording = (first + refusals) % len(wordings)
        return wording, self.templates.prompt(request, wording)

    def facts(self, name: str, wording: int) -> dict[str, Fact]:
        """What the record of an image says of its request."""
        request = self.requests[name]
        return self.templates.facts(request) | {
            "label": request.label,
            "group": f"{self.generation['generator']}-{self.seed}-{request.pair:06d}",
            "seed": request.seed,
            "prompt": self.templates.prompt(request, wording),
            "wording": wording,
        }

    def missing(self, folder: Path, max_images: int | None) -> list[str]:
        """Requests without an image in ``folder``, as many as ``max_images`` leaves room for.

        Raises
        ------
        DatasetMismatch
            (A ValueError.) If the folder holds another data set.
        """
        check_lock(folder, self.generation)
        have = read_records(folder)
        names = [name for name in self.requests if name not in have]
        return names if max_images is None else names[: max(max_images - len(have), 0)]

    def missing_prompts(self, folder: Path, max_images: int | None) -> dict[str, str]:
        """First prompt of each request that is :meth:`missing`; nothing is asked or written."""
        return {name: self.prompt(name)[1] for name in self.missing(folder, max_images)}
