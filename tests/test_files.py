"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flarekit.errors import InputError, OutputError
from flarekit.files import (
    atomic_folder,
    atomic_path,
    input_errors,
    refuse_existing,
    remove_leftovers,
    require_existing,
    require_writable,
    sha256,
    write_json_once,
    write_text,
)


def test_text_appears_and_nothing_else(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "grün")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "grün"
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_the_temporary_name_keeps_the_ending(tmp_path):
    with atomic_path(tmp_path / "ct.nii.gz") as temporary:
        assert temporary.parent == tmp_path and temporary.name.endswith("ct.nii.gz")
        assert not (tmp_path / "ct.nii.gz").exists()
        temporary.write_bytes(b"1")
    assert (tmp_path / "ct.nii.gz").read_bytes() == b"1"


def test_a_block_that_fails_leaves_the_old_file(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(KeyError), atomic_path(tmp_path / "a.txt", overwrite=True) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_nothing_is_replaced_silently(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(OutputError, match="a.txt: exists already"):
        write_text(tmp_path / "a.txt", "new")
    write_text(tmp_path / "a.txt", "new", overwrite=True)
    assert (tmp_path / "a.txt").read_text() == "new"
    with pytest.raises(OutputError):
        refuse_existing(tmp_path / "a.txt")
    refuse_existing(tmp_path / "b.txt")


def test_permissions_follow_the_umask(tmp_path):
    write_text(tmp_path / "a.txt", "")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~umask


def test_a_file_in_the_folders_place(tmp_path):
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        write_text(tmp_path / "folder" / "a.txt", "")
    with pytest.raises(OutputError, match="cannot be written"), atomic_folder(tmp_path / "folder" / "sub"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_says_so(tmp_path, number):
    with pytest.raises(OutputError, match="no space") as caught, atomic_path(tmp_path / "a.txt"):
        raise OSError(number, os.strerror(number))
    assert "a.txt" in str(caught.value) and list(tmp_path.iterdir()) == []


def test_a_folder_appears_whole(tmp_path):
    with atomic_folder(tmp_path / "new") as temporary:
        (temporary / "a.txt").write_text("a")
        assert not (tmp_path / "new").exists()
    assert (tmp_path / "new" / "a.txt").read_text() == "a"
    with pytest.raises(OutputError, match="exists"), atomic_folder(tmp_path / "new"):
        pass


def test_a_folder_that_fails_is_removed(tmp_path):
    with pytest.raises(ValueError), atomic_folder(tmp_path / "new") as temporary:
        (temporary / "a.txt").write_text("a")
        raise ValueError
    assert list(tmp_path.iterdir()) == []


def test_sha256_of_known_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_broken_link_is_not_replaced_silently(tmp_path):
    (tmp_path / "link.txt").symlink_to(tmp_path / "nowhere.txt")
    with pytest.raises(OutputError, match="exists already"):
        write_text(tmp_path / "link.txt", "text")
    assert (tmp_path / "link.txt").is_symlink()


@pytest.mark.parametrize("check", [refuse_existing, require_writable])
def test_a_name_that_is_too_long_is_refused_before_long_work(tmp_path, check):
    with pytest.raises(OutputError, match="too long"):
        check(tmp_path / f"{'x' * 300}.txt")


def test_no_file_can_be_made_where_a_folder_is(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with pytest.raises(OutputError, match="folder: is a folder"):
        require_writable(tmp_path / "folder")
    require_writable(tmp_path / "link")  # a link is replaced, and the folder stays


def test_of_many_writers_at_once_the_first_one_writes(tmp_path):
    target = tmp_path / "new" / "store.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: write_json_once(target, {"by": number}), range(8)))
    first = json.loads(target.read_text())
    write_json_once(target, {"by": 9})
    assert json.loads(target.read_text()) == first and first["by"] in range(8)
    assert list(target.parent.iterdir()) == [target]


def test_the_first_one_writes_where_there_are_no_hard_links(tmp_path, monkeypatch):
    def no_links(*names):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    for number in (1, 2):
        write_json_once(tmp_path / "a.json", number)
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"] and (tmp_path / "a.json").read_text() == "1\n"


def test_leftovers_of_killed_writers_are_removed_and_files_being_written_stay(tmp_path):
    script = (
        "import os, signal, sys; from pathlib import Path; from flarekit.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "killed.txt")])
    assert killed.returncode == -signal.SIGKILL and len(list(tmp_path.iterdir())) == 1
    (tmp_path / ".tmp-folder").mkdir()
    with atomic_path(tmp_path / "alive.txt") as temporary:
        temporary.write_text("whole")
        remove_leftovers(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [".tmp-folder", "alive.txt"]


def test_without_locks_only_old_leftovers_are_removed(tmp_path, monkeypatch):
    def no_locks(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    for name, age_s in ((".tmp-old", 2 * 24 * 3600), (".tmp-new", 60)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    remove_leftovers(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [".tmp-new"]
    write_text(tmp_path / "a.txt", "a")
    assert (tmp_path / "a.txt").read_text() == "a"


KILLED = (
    "import os, signal, sys; from pathlib import Path; from flarekit.files import atomic_folder\n"
    "with atomic_folder(Path(sys.argv[1])) as temporary:\n"
    "    (temporary / 'a.txt').write_text('half')\n"
    "    os.kill(os.getpid(), signal.SIGKILL)\n"
)


def test_a_folder_that_a_killed_writer_left_goes_when_the_same_one_is_written_again(tmp_path):
    for name in ("new", "other"):
        subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / name)])
    (tmp_path / ".tmp-mine").mkdir()
    (tmp_path / ".tmp-12345678-news").mkdir()
    assert len(list(tmp_path.iterdir())) == 4
    with atomic_folder(tmp_path / "new"):
        pass
    (left,) = {path.name for path in tmp_path.iterdir()} - {"new", ".tmp-mine", ".tmp-12345678-news"}
    assert left.endswith("-other")


def test_a_folder_that_another_process_is_writing_stays(tmp_path):
    with atomic_folder(tmp_path / "new") as temporary:
        (temporary / "a.txt").write_text("a")
        with pytest.raises(ValueError), atomic_folder(tmp_path / "new") as other:
            assert other != temporary and temporary.is_dir()
            raise ValueError
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_an_error_about_a_file_in_a_temporary_folder_names_the_place_it_is_written_for(tmp_path):
    with pytest.raises(OutputError) as caught, atomic_folder(tmp_path / "new") as temporary:
        write_text(temporary / "sub" / "a.txt", "a")
        write_text(temporary / "sub" / "a.txt", "a")
    assert caught.value.where == tmp_path / "new" / "sub" / "a.txt"
    assert str(caught.value).startswith(f"{tmp_path / 'new' / 'sub' / 'a.txt'}: exists already")


@pytest.mark.parametrize("name", ["nowhere", "a" * 300, "link"])
def test_what_is_not_there_is_said_not_to_exist(tmp_path, name):
    (tmp_path / "link").symlink_to("gone")
    with pytest.raises(InputError) as caught:
        require_existing(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: does not exist. Check the path."
    require_existing(tmp_path)


def test_a_refusal_to_read_names_the_file_the_reason_and_the_remedy(tmp_path):
    with pytest.raises(InputError) as caught, input_errors(tmp_path):
        tmp_path.read_text()
    assert str(caught.value) == f"{tmp_path}: cannot be read (Is a directory). Check the path."
    with (
        pytest.raises(InputError, match=r"cannot be read \(odd\)\. Look again\.$"),
        input_errors(tmp_path, remedy="Look again."),
    ):
        raise OSError("odd")
    with pytest.raises(ValueError, match="no file"), input_errors(tmp_path):
        raise ValueError("no file of this kind")
