"""Which slides a server opens for its clients: those in some folders, and behind some URLs."""

from __future__ import annotations

import ntpath
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from qupath_sam.errors import InvalidRequest, SlideNotFound
from qupath_sam.slides.location import Location
from qupath_sam.slides.source import not_here
from qupath_sam.slides.urls import NO_URLS, UrlRules

#: Windows spells one path several ways; these beginnings say how the rest is to be read.
_LITERAL_UNC, _LITERAL = "\\\\?\\UNC\\", "\\\\?\\"


@dataclass(frozen=True, slots=True)
class Permissions:
    """What may be opened.

    Attributes:
        roots: absolute folders, each as it was given and as it is without symbolic links; a slide lies in one of them.
            None lets every path through.
        urls: the URLs that may be opened.
    """

    roots: tuple[tuple[str, str], ...] | None = None
    urls: UrlRules = NO_URLS

    @classmethod
    def of(cls, roots: Iterable[str | os.PathLike[str]] | None, urls: UrlRules = NO_URLS) -> Permissions:
        """Make rules from folders of this machine.

        Raises:
            InvalidRequest: one is no folder here.
        """
        if roots is None:
            return cls(None, urls)
        return cls(tuple(_root(Path(root)) for root in roots), urls)

    @property
    def opens_everything(self) -> bool:
        """Whether every file of the machine is in reach: no root at all, or one that is that of a file system."""
        return self.roots is None or any(os.path.dirname(real) == real for _, real in self.roots)

    def check(self, location: Location) -> Location:
        """Return the location with its symbolic links resolved, where it may be opened.

        The file that is looked at is the one that is opened afterwards: a link that is changed between the two leads
        nowhere. The path's text is held against the roots first, so that no disk and no network share outside of them
        is even asked.

        Raises:
            SlideNotFound: it may not be opened; said in the words of a slide that is not there.
            SlideUnsupported: a URL that may not be opened.
        """
        if location.is_url:
            self.urls.check(location.target, given=location.given)
            return location
        if self.roots is None or location.is_foreign:
            return location  # a path of another system is not here, whatever may be opened
        try:
            path = os.path.abspath(location.target)
            if any(lies_in(path, root) for pair in self.roots for root in pair):
                real = os.path.realpath(location.target)
                if any(lies_in(real, root) for _, root in self.roots):
                    return replace(location, real=real)
        except (OSError, ValueError):
            pass  # a name that the system cannot take is not here
        raise SlideNotFound(not_here(location.given))


EVERY_PATH = Permissions()
"""Every path and no URL: for the user of this machine, who can read the files anyway."""


def lies_in(path: str, root: str, *, system: ModuleType = os.path) -> bool:
    """Return whether an absolute path is a folder or lies in it, by the text of the two alone.

    Args:
        system: `posixpath`, or `ntpath`, which compares without regard to case.
    """
    separator = "\\" if system is ntpath else "/"
    inner, outer = (_comparable(text, system) for text in (path, root))
    return inner == outer or inner.startswith(outer.rstrip(separator) + separator)


def _comparable(path: str, system: ModuleType) -> str:
    if system is ntpath:
        if path.upper().startswith(_LITERAL_UNC):
            path = "\\\\" + path[len(_LITERAL_UNC) :]
        elif path.startswith(_LITERAL):
            path = path[len(_LITERAL) :]
    return str(system.normcase(system.normpath(path)))


def _root(root: Path) -> tuple[str, str]:
    if not root.is_dir():
        raise InvalidRequest(f"{root} is no folder of this machine; give --slides a folder that slides lie in")
    return os.path.abspath(root), os.path.realpath(root)
