"""Frozen records for the login path, where importing ``dataclasses`` would cost more than all the rest.

A subclass annotates its fields; a default is given as a class attribute would be. Type checkers see a frozen dataclass.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Self, dataclass_transform
else:

    def dataclass_transform(**_options: object) -> Any:
        """Stand in for ``typing.dataclass_transform``, whose import is what this module avoids."""
        return lambda decorated: decorated


@dataclass_transform(frozen_default=True, kw_only_default=False)
class Record:
    """An immutable value: built by position or keyword, compared by fields, shown by fields."""

    _fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        """Collect the fields and defaults that the subclass declares."""
        own = tuple(name for name in cls.__annotations__ if not name.startswith("_"))
        cls._fields = cls._fields + own
        cls._defaults = cls._defaults | {name: cls.__dict__[name] for name in own if name in cls.__dict__}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Fill every field; TypeError for one that is missing, unknown or given twice."""
        if len(args) == len(self._fields) and not kwargs:
            self.__dict__.update(zip(self._fields, args))
            return
        if len(args) > len(self._fields):
            raise TypeError(f"{type(self).__name__} takes {len(self._fields)} values, not {len(args)}")
        given = dict(zip(self._fields, args))
        if twice := given.keys() & kwargs.keys():
            raise TypeError(f"{type(self).__name__}: given twice: {', '.join(sorted(twice))}")
        values = self._defaults | given | kwargs
        if values.keys() != set(self._fields):
            wrong = ", ".join(sorted(values.keys() ^ set(self._fields)))
            raise TypeError(f"{type(self).__name__}: missing or unknown: {wrong}")
        self.__dict__.update(values)

    def but(self, **changes: Any) -> Self:
        """The same with other values in some fields."""
        return type(self)(**(self.__dict__ | changes))

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: a record never changes."""
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __delattr__(self, name: str) -> None:
        """Refuse: a record never changes."""
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        """Equal if of the same class with equal fields."""
        return type(other) is type(self) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        """Hash by fields."""
        return hash((type(self), *(self.__dict__[name] for name in self._fields)))

    def __repr__(self) -> str:
        """Show the class and its fields."""
        return f"{type(self).__name__}({', '.join(f'{name}={self.__dict__[name]!r}' for name in self._fields)})"
