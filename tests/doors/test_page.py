"""The first steps of each page can be read out of it, and the page of figures has them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from .page import DOORS, ROOT, Command, Door, Paste, Save, steps

PAGE = """# Page

```console
$ not this
```

## Try it

```console
$ first \\
    -x
shown …
$ trunkline serve &
# no heading
$ echo 'two
lines'
```

### More

Save this as `it.py`:

```python
pass
```

```console
$ trunkline emulate python -m asyncio
```

```py
print(1)  # 1
```

```toml
a = 1
```

## Later

```console
$ nor this
```
"""
NAMES = [door.name for door in DOORS]


@pytest.mark.parametrize("door", DOORS, ids=NAMES)
def test_a_door_is_complete_on_its_page(door: Door) -> None:
    """It makes its environment, installs from the clone, needs no key, and shows an answer."""
    found = steps(door)
    commands = [step for step in found if isinstance(step, Command)]
    assert commands[0].text.startswith("python3 -m venv .venv")
    assert any("pip install" in command.text for command in commands[:3])
    assert any("trunkline emulate" in command.text for command in commands)
    assert any(step.shown for step in found if not isinstance(step, Save))


def test_the_page_of_figures_has_each_door_in_order() -> None:
    page = (ROOT / "docs" / "first-run.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("### ")] == [
        f"### {name}" for name in NAMES
    ]
    for door in DOORS:
        assert f"| {door.name} | {door.link} | " in page


def test_the_figures_are_those_of_the_commands_on_the_pages() -> None:
    page = (ROOT / "docs" / "first-run.md").read_text()
    for door in DOORS:
        part = page.partition(f"### {door.name}\n")[2].partition("### ")[0]
        for step in steps(door):
            if isinstance(step, Command):
                assert all(line.strip() in part for line in step.text.splitlines())


def test_a_section_is_read_as_a_person_reads_it(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(PAGE)
    assert steps(Door("a door", "page.md", "Try it"), tmp_path) == [
        Command("first \\\n    -x", ["shown …"]),
        Command("trunkline serve &", ["# no heading"]),
        Command("echo 'two\nlines'"),
        Save("it.py", "pass\n"),
        Command("trunkline emulate python -m asyncio"),
        Paste("print(1)  # 1\n", ["1"]),
    ]
    with pytest.raises(ValueError, match="no section 'Elsewhere'"):
        steps(Door("a door", "page.md", "Elsewhere"), tmp_path)
