"""Replicas by files in a folder: real files, written as people and programs write them."""

import os
from pathlib import Path

import pytest

from controlplane.config import DirectorySettings, validated
from controlplane.discovery import Found, SourceError
from controlplane.discovery.directory import DirectorySource


class Looked:
    """A source of a folder, looked at as often as a test asks."""

    def __init__(self, folder: Path) -> None:
        settings = validated(DirectorySettings, {"path": str(folder), "interval": "10ms"})
        self._folder = folder
        self._sets = DirectorySource(settings).sets()

    async def look(self) -> Found:
        return await anext(self._sets)

    async def ids(self) -> list[str]:
        return list((await self.look()).replicas)

    def write(self, name: str, *replicas: str) -> None:
        """Replace a file at once, as a careful program does."""
        lines = "".join(
            f'  - {{id: {replica}, address: "10.0.0.{ord(replica)}:80"}}\n' for replica in replicas
        )
        self.put(name, f"replicas:\n{lines}" if lines else "replicas: []\n")

    def put(self, name: str, text: str) -> None:
        (self._folder / ".new").write_text(text)
        os.replace(self._folder / ".new", self._folder / name)


@pytest.fixture
def looked(tmp_path: Path) -> Looked:
    return Looked(tmp_path)


async def test_the_files_of_a_folder_are_put_together(looked: Looked) -> None:
    looked.write("one.yaml", "a", "b")
    looked.write("two.yml", "c")
    found = await looked.look()
    assert (list(found.replicas), found.problem) == (["a", "b", "c"], None)
    assert str(found.replicas["a"].address) == "10.0.0.97:80"


async def test_other_files_and_hidden_ones_do_not_count(looked: Looked) -> None:
    for name in ("notes.txt", ".hidden.yaml", "one.yaml~"):
        looked.write(name, "a")
    assert await looked.ids() == []


async def test_a_replaced_a_rewritten_and_a_deleted_file_are_followed(
    looked: Looked, tmp_path: Path
) -> None:
    looked.write("one.yaml", "a")
    looked.write("two.yaml", "b")
    assert await looked.ids() == ["a", "b"]
    looked.write("one.yaml", "c")
    assert await looked.ids() == ["c", "b"]
    (tmp_path / "one.yaml").write_text('replicas: [{id: dd, address: "10.0.0.9:80"}]')
    assert await looked.ids() == ["dd", "b"]
    (tmp_path / "one.yaml").unlink()
    assert await looked.ids() == ["b"]


async def test_a_folder_that_does_not_change_yields_the_very_same(looked: Looked) -> None:
    looked.write("one.yaml", "a")
    assert await looked.look() is await looked.look()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "replicas:\n  - {id: a, address: nowhere}\n",
            "one.yaml:2: replicas[0].address: 'nowhere' is not \"host:port\"",
        ),
        (
            "replicas:\n  - id: a\n    address: 10.0.0.1:80\n    slot: 2\n",
            "one.yaml:4: replicas[0].slot: unknown key; did you mean 'slots'?",
        ),
        ("replicas:\n  - {id: a, address: 169.254.169.254:80}\n", "link-local"),
        (
            "replicas:\n  - {id: a, address: 10.0.0.1:80, ttl: 30s}\n",
            "one.yaml:2: replicas[0].ttl: leave it out",
        ),
        ("replicas: [", "one.yaml:1: is not YAML"),
        (
            "- {id: a, address: 10.0.0.1:80}\n",
            "one.yaml:1: must be a mapping with the key replicas, not a list",
        ),
        ("", "one.yaml:1: must be a mapping with the key replicas, not null"),
        ("{}", "one.yaml:1: replicas: is required and missing"),
    ],
)
async def test_a_file_that_goes_bad_keeps_its_last_good_content_and_says_where(
    looked: Looked, text: str, says: str
) -> None:
    looked.write("one.yaml", "a", "b")
    looked.write("two.yaml", "c")
    await looked.look()
    looked.put("one.yaml", text)
    looked.write("two.yaml", "d")
    found = await looked.look()
    assert list(found.replicas) == ["a", "b", "d"]
    assert found.problem is not None
    assert says in found.problem
    looked.write("one.yaml", "e")
    well = await looked.look()
    assert (list(well.replicas), well.problem) == (["e", "d"], None)


async def test_a_file_that_was_never_good_has_no_replicas_and_hinders_no_other(
    looked: Looked,
) -> None:
    looked.put("one.yaml", "nonsense")
    looked.write("two.yaml", "c")
    found = await looked.look()
    assert list(found.replicas) == ["c"]
    assert found.problem is not None
    # Of what it had before a restart of ours nothing is known, so it may have had something.
    assert not found.is_whole
    looked.write("one.yaml", "a")
    assert (await looked.look()).is_whole
    looked.put("one.yaml", "nonsense")
    assert (await looked.look()).is_whole


async def test_a_bad_file_that_is_deleted_takes_its_last_good_content_with_it(
    looked: Looked, tmp_path: Path
) -> None:
    looked.write("one.yaml", "a")
    await looked.look()
    looked.put("one.yaml", "nonsense")
    await looked.look()
    (tmp_path / "one.yaml").unlink()
    assert await looked.look() == Found({})


async def test_a_link_that_is_turned_to_another_file_is_followed(
    looked: Looked, tmp_path: Path
) -> None:
    # As Kubernetes mounts a ConfigMap: the links stay, the folder that they lead through changes.
    for name, replica in (("v1", "a"), ("v2", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.yaml").write_text(
            f'replicas: [{{id: {replica}, address: "10.0.0.1:80"}}]'
        )
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "one.yaml").symlink_to("..data/one.yaml")
    assert await looked.ids() == ["a"]
    (tmp_path / "..new").symlink_to("v2")
    os.replace(tmp_path / "..new", tmp_path / "..data")
    assert await looked.ids() == ["b"]


async def test_a_link_to_nothing_keeps_what_was_there(looked: Looked, tmp_path: Path) -> None:
    looked.write("one.yaml", "a")
    await looked.look()
    (tmp_path / "one.yaml").unlink()
    (tmp_path / "one.yaml").symlink_to("nowhere")
    found = await looked.look()
    assert list(found.replicas) == ["a"]
    assert found.problem == f"{tmp_path}/one.yaml cannot be read: it leads to nothing"


async def test_what_is_no_plain_file_is_not_waited_for(looked: Looked, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    looked.write("two.yaml", "c")
    found = await looked.look()
    assert list(found.replicas) == ["c"]
    assert found.problem is not None
    assert "pipe.yaml is no file" in found.problem


async def test_two_files_with_one_id_or_one_address_say_so(looked: Looked) -> None:
    looked.write("one.yaml", "a")
    looked.put("two.yaml", 'replicas:\n\n  - {id: a, address: "10.0.0.1:80"}\n')
    looked.put("zzz.yaml", 'replicas: [{id: z, address: "10.0.0.97:80"}]')
    found = await looked.look()
    assert list(found.replicas) == ["a"]
    assert found.problem == "two.yaml:3: id a is already that of one.yaml:2 (and 1 more)"


async def test_a_folder_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file or directory"):
        await Looked(tmp_path / "missing").look()


async def test_a_source_that_is_asked_anew_remembers_what_was_good(tmp_path: Path) -> None:
    looked = Looked(tmp_path)
    settings = validated(DirectorySettings, {"path": str(tmp_path), "interval": "10ms"})
    source = DirectorySource(settings)
    looked.write("one.yaml", "a")
    await anext(source.sets())
    looked.put("one.yaml", "nonsense")
    assert list((await anext(source.sets())).replicas) == ["a"]


@pytest.mark.parametrize("path", ["replicas.d", "../{0}/replicas.d", "{1}/replicas.d"])
async def test_a_relative_path_is_below_its_base_and_an_absolute_one_is_as_it_is(
    tmp_path: Path, path: str
) -> None:
    (tmp_path / "replicas.d").mkdir()
    Looked(tmp_path / "replicas.d").write("one.yaml", "a")
    said = {"path": path.format(tmp_path.name, tmp_path)}
    source = DirectorySource(validated(DirectorySettings, said), tmp_path)
    assert list((await anext(source.sets())).replicas) == ["a"]
