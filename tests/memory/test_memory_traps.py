"""Where a mechanism is easily fooled: each case read by all mechanisms at once."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal

import numpy as np
import pytest

from ipc_magic.memory import ladder
from ipc_magic.memory.pages import PAGE_BYTES, Pages
from ipc_magic.memory.rungs import uffd

ROOT = os.geteuid() == 0
# The frames are asked where we may; the others must be right without them.
ALL = ("uffd", "witness", "pfn") if ROOT else ("uffd", "witness")
COUNT = 64
MANY = 40 * COUNT
PROT_READ, PROT_WRITE, MAP_FIXED = 1, 2, 16
LIBC = ctypes.CDLL(None, use_errno=True)
for _name in ("mmap", "mremap"):
    getattr(LIBC, _name).restype = ctypes.c_void_p


@pytest.fixture(autouse=True, params=["all", "changes"])
def how_uffd_looks(request, monkeypatch):
    """Have it look at all pages, as it does at few, or for changes alone."""
    smallest = {"all": 1 << 60, "changes": 0}[request.param]
    monkeypatch.setattr(uffd, "_SMALL_BYTES", smallest)


@pytest.fixture(autouse=True, scope="module")
def _mechanisms_there():
    for name in ("uffd", "exclusive"):
        if fault := ladder.fault_of(name):
            pytest.skip(f"no {name} here: {fault}")


def address_at(region, index):
    return ctypes.c_void_p(region.address + index * PAGE_BYTES)


def size_of(count):
    return ctypes.c_size_t(count * PAGE_BYTES)


def unmap(region, first, count):
    assert LIBC.munmap(address_at(region, first), size_of(count)) == 0


def map_anew(region, first, count, kind=mmap.MAP_PRIVATE):
    flags = kind | mmap.MAP_ANONYMOUS | MAP_FIXED
    at = address_at(region, first)
    got = LIBC.mmap(at, size_of(count), PROT_READ | PROT_WRITE, flags, -1, 0)
    assert got == at.value


def map_shared(region, first, count):
    map_anew(region, first, count, mmap.MAP_SHARED)


def protect(region, first, count, protection):
    assert LIBC.mprotect(address_at(region, first), size_of(count), protection) == 0


def move(region, first, count):
    """Move pages to where the kernel likes, return the address."""
    may_move, size = 1, size_of(count)
    got = LIBC.mremap(address_at(region, first), size, size, may_move | 4, None)
    return int(got)  # 4 is MREMAP_DONTUNMAP, Linux 5.7: the old range stays, empty


def write_at(address, count):
    for i in range(count):
        ctypes.c_char.from_address(address + i * PAGE_BYTES).value = b"x"


def with_tools(region):
    """Return the actions of a region, and what bends its mappings."""

    def on_region(function):
        return lambda *arguments: function(region, *arguments)

    tools = (unmap, map_anew, map_shared, protect, move)
    return {
        **region.actions(),
        **{tool.__name__: on_region(tool) for tool in tools},
        "write_at": write_at,
    }


class Watched:
    """A child of three mechanisms, and the parts of their figures in one region."""

    def __init__(self, family, some, actions=None):
        self.some = some
        parent = family(actions or with_tools(some))
        self.child = parent.born(*ALL, witness=True)
        self.do = self.child.do
        self.before = self.child.look()
        self.figures = self.before

    def look(self):
        self.figures = self.child.look()

    def numbers(self, what):
        """Return the region's pages that are `what`, the same by all mechanisms."""
        found = {
            name: self.some.numbers(getattr(rung.ledger, what))
            for name, rung in self.child.rungs.items()
        }
        first = found["uffd"]
        assert all(numbers == first for numbers in found.values()), found
        return first

    def grown(self, field):
        """Return by how many pages a figure has grown, for each mechanism."""
        return {
            name: (getattr(after, field) - getattr(self.before[name], field))
            // PAGE_BYTES
            for name, after in self.figures.items()
        }


@pytest.fixture
def watched(family, region):
    return lambda count=COUNT, **how: Watched(family, region(count, **how))


# What the interpreter does besides in the child: far fewer pages than MANY.
FEW = 150


def test_memory_given_back_is_gone(watched):
    child = watched()
    child.do("write", [0, 1, 2, 3])
    child.look()
    child.do("advise", mmap.MADV_DONTNEED, 2, 10)
    child.look()
    assert child.numbers("gone") == list(range(2, 12))
    assert child.numbers("end_copied") == [0, 1]
    assert child.numbers("copied") == [0, 1, 2, 3]  # it was, at an earlier reading


def test_memory_given_back_and_written_anew_is_no_copy(watched):
    child = watched(MANY)
    child.do("advise", mmap.MADV_DONTNEED, 0, 1000)
    child.look()
    child.do("write", list(range(1010)))
    child.look()
    assert child.numbers("copied") == list(range(1000, 1010))
    assert child.numbers("gone") == list(range(1000))
    for name, n in child.grown("new_bytes").items():
        assert 1000 <= n < 1000 + FEW, name


def test_memory_given_back_and_only_read_is_gone(watched):
    child = watched(MANY)
    child.do("advise", mmap.MADV_DONTNEED, 0, 1000)
    assert child.do("read", list(range(1000))) == 0
    child.look()
    assert child.numbers("gone") == list(range(1000))
    assert child.numbers("copied") == []
    assert all(0 <= n < FEW for n in child.grown("new_bytes").values())


def test_memory_given_back_and_written_between_two_readings_is_called_a_copy(watched):
    # No mechanism can tell: the page lies where it lay, and is the child's alone.
    child = watched()
    child.do("advise", mmap.MADV_DONTNEED, 0, 10)
    child.do("write", list(range(10)))
    child.look()
    assert child.numbers("copied") == list(range(10))
    assert child.numbers("gone") == []


def test_what_was_unmapped_is_gone(watched):
    child = watched()
    child.do("write", [5])
    child.do("unmap", 0, 10)
    child.look()
    assert child.numbers("gone") == list(range(10))
    assert child.numbers("copied") == []


def test_a_new_mapping_in_the_place_of_an_old_one_is_no_copy(watched):
    child = watched(MANY)
    child.do("unmap", 0, 1000)
    child.do("map_anew", 0, 1000)
    child.look()
    child.do("write", list(range(1010)))
    child.look()
    assert child.numbers("copied") == list(range(1000, 1010))
    assert child.numbers("gone") == list(range(1000))
    for name, n in child.grown("new_bytes").items():
        assert 1000 <= n < 1000 + FEW, name


def test_uffd_tells_a_new_mapping_without_having_seen_the_gap(watched):
    child = watched()
    child.do("unmap", 0, 10)
    child.do("map_anew", 0, 10)
    child.do("write", list(range(20)))
    child.look()
    ledger = child.child.uffd.ledger
    assert child.some.numbers(ledger.copied) == list(range(10, 20))
    assert child.some.numbers(ledger.gone) == list(range(10))


def test_shared_memory_in_the_place_of_private_memory_is_not_new(watched):
    child = watched(MANY)
    child.do("unmap", 0, 1000)
    child.do("map_shared", 0, 1000)
    child.do("write", list(range(1010)))
    child.look()
    ledger = child.child.uffd.ledger
    assert child.some.numbers(ledger.gone) == list(range(1000))
    assert child.some.numbers(ledger.copied) == list(range(1000, 1010))
    assert all(n < FEW for n in child.grown("new_bytes").values())


@pytest.mark.parametrize("huge", [False, True], ids=["small pages", "huge pages"])
def test_what_was_moved_is_neither_gone_nor_new(huge, family, region):
    some = region(1024, huge=huge)
    child = Watched(family, some)
    address = child.do("move", 0, 512)
    child.look()
    for name in ALL:
        assert child.grown("gone_bytes")[name] < FEW, name
        assert child.grown("new_bytes")[name] < FEW, name
        assert child.grown("copied_bytes")[name] < FEW, name
    child.do("write_at", address, 400)
    child.look()
    for name in ALL:
        assert 400 <= child.grown("new_bytes")[name] < 400 + FEW, name
        assert child.grown("copied_bytes")[name] < FEW, name


@pytest.mark.parametrize("huge", [False, True], ids=["small", "huge"])
def test_pages_of_zeros_are_not_inherited(huge, family, region):
    some = region(1024, huge=huge)
    actions = with_tools(some)
    actions["fill"] = lambda: some.read(range(1024))  # in the parent
    child = Watched(family, some, actions)
    for rung in child.child.rungs.values():
        assert (rung.ledger.inherited & some.pages) == Pages(), rung.name
    child.do("write", list(range(0, 512, 2)))
    child.look()
    assert child.numbers("copied") == []
    written = 512 if huge else 256  # the first write makes all of a huge page
    for name in ALL:
        assert written <= child.grown("new_bytes")[name] < written + FEW, name


def test_new_memory_that_is_only_read_is_no_memory(family, region):
    grown = []

    def grow():
        grown.append(region(MANY))
        return grown[-1].read(range(MANY))

    child = Watched(family, region(1), {"grow": grow})
    child.do("grow")
    child.look()
    assert all(0 <= n < FEW for n in child.grown("new_bytes").values())


def test_memory_that_nobody_touched_before_is_new(family, region):
    some = region(MANY)
    actions = with_tools(some)
    del actions["fill"]
    child = Watched(family, some, actions)
    child.do("write", list(range(1000)))
    child.look()
    assert child.numbers("copied") == child.numbers("gone") == []
    for name, n in child.grown("new_bytes").items():
        assert 1000 <= n < 1000 + FEW, name


def test_memory_that_was_read_only_at_the_fork_counts(family, region):
    some = region(COUNT)
    actions = with_tools(some)
    fill = actions["fill"]

    def fill_and_lock():
        fill()
        protect(some, 0, 32, PROT_READ)
        protect(some, 32, 32, 0)

    actions["fill"] = fill_and_lock
    child = Watched(family, some, actions)
    child.do("protect", 0, COUNT, PROT_READ | PROT_WRITE)
    child.do("write", list(range(16, 48)))
    child.look()
    assert child.numbers("inherited") == list(range(COUNT))
    assert child.numbers("copied") == list(range(16, 48))


def test_protections_set_by_the_child_change_nothing(watched):
    child = watched()
    child.do("write", [1, 2])
    child.do("protect", 0, 10, PROT_READ)
    child.do("protect", 20, 10, 0)
    child.look()
    assert child.numbers("copied") == [1, 2]
    assert child.numbers("gone") == []


def test_writes_by_the_kernel_count(family, region, tmp_path):
    some = region(COUNT)
    (tmp_path / "file").write_bytes(b"x" * COUNT * PAGE_BYTES)
    file = os.open(tmp_path / "file", os.O_RDONLY)

    def fetch(first, count):
        view = some.bytes[first * PAGE_BYTES : (first + count) * PAGE_BYTES]
        return os.preadv(file, [view.data], 0)

    child = Watched(family, some, {**some.actions(), "fetch": fetch})
    os.close(file)
    assert child.do("fetch", 3, 20) == 20 * PAGE_BYTES
    child.look()
    assert child.numbers("copied") == list(range(3, 23))


@pytest.mark.parametrize("name", ["file", "device"])
def test_private_mappings_of_files_count_where_they_were_written(
    name, family, region, tmp_path
):
    (tmp_path / "file").write_bytes(b"x" * MANY * PAGE_BYTES)
    some = region(MANY)
    with open(tmp_path / "file" if name == "file" else "/dev/zero", "rb") as file:
        rights = PROT_READ | PROT_WRITE
        some.address = LIBC.mmap(
            None, size_of(MANY), rights, mmap.MAP_PRIVATE, file.fileno(), 0
        )
    memory = (ctypes.c_ubyte * (MANY * PAGE_BYTES)).from_address(some.address)
    some.bytes = np.frombuffer(memory, np.uint8)
    actions = some.actions()

    def fill():
        some.write(range(500))
        some.read(range(500, 700))

    actions["fill"] = fill
    child = Watched(family, some, actions)
    assert child.numbers("inherited") == list(range(500))
    child.do("write", list(range(200, 1000)))
    child.look()
    assert child.numbers("copied") == list(range(200, 500))
    assert all(500 <= n < 500 + FEW for n in child.grown("new_bytes").values())
    assert LIBC.munmap(address_at(some, 0), size_of(MANY)) == 0


def test_shared_memory_is_not_copied(family, region):
    size = MANY * PAGE_BYTES
    shared = mmap.mmap(-1, size)
    pages = np.frombuffer(shared, np.uint8)

    def fill():
        pages[: size // 2 : PAGE_BYTES] = 1

    def write():
        pages[::PAGE_BYTES] = 2

    child = Watched(family, region(1), {"fill": fill, "write": write})
    child.do("write")
    child.look()
    for field in ("copied_bytes", "new_bytes", "gone_bytes"):
        assert all(n < FEW for n in child.grown(field).values()), field


def fork_here(some, pages, *, lives):
    """Fork a grandchild that writes some pages, and then waits or ends."""
    told, tells = os.pipe()
    if not (pid := os.fork()):
        os.close(told)
        some.write(pages)
        os.write(tells, b"x")
        os.close(tells)
        while lives:
            signal.pause()
        os._exit(0)
    os.close(tells)
    os.read(told, 1)
    os.close(told)
    if not lives:
        os.waitpid(pid, 0)
    return pid


def test_what_a_grandchild_writes_is_not_the_childs(family, region):
    some = region(COUNT)
    actions = with_tools(some)
    actions["fork"] = lambda pages: fork_here(some, pages, lives=False)
    child = Watched(family, some, actions)
    child.do("write", [1, 2])
    child.do("fork", list(range(10, 20)))
    child.do("write", [3, 15])
    child.look()
    assert child.numbers("copied") == [1, 2, 3, 15]
    assert child.numbers("gone") == []


def test_a_living_grandchild_is_no_trouble_for_uffd(family, region, end_process):
    some = region(COUNT)
    actions = with_tools(some)
    actions["fork"] = lambda pages: fork_here(some, pages, lives=True)
    child = Watched(family, some, actions)
    child.do("write", [1, 2])
    end_process.append(child.do("fork", list(range(10, 20))))
    child.do("write", [3, 15])
    child.look()
    written, witness = child.child.uffd, child.child.exclusive
    assert some.numbers(written.ledger.copied) == [1, 2, 3, 15]
    if ROOT:
        assert some.numbers(child.child.frames.ledger.copied) == [1, 2, 3, 15]
    # The pages it shares with the grandchild are not seen, and this is known.
    assert some.numbers(witness.ledger.copied) == [3, 15]
    assert witness.shares_with_its_own


def test_a_child_that_closes_all_descriptors_is_still_watched(family, region):
    some = region(COUNT)

    def close_all():
        links = {int(n): os.path.realpath(f"/proc/self/fd/{n}") for n in fds()}
        for fd, link in links.items():
            if "socket" not in link:
                os.closerange(fd, fd + 1)
        return [link for link in links.values() if "userfault" in link]

    def fds():
        return os.listdir("/proc/self/fd")

    child = Watched(family, some, {**some.actions(), "close_all": close_all})
    assert child.do("close_all") == []
    child.do("write", [7, 8])
    child.look()
    assert child.numbers("copied") == [7, 8]


def test_a_child_that_has_ended_is_said_to_have(family, region, wait_until, state):
    some = region(COUNT)
    child = Watched(family, some)
    os.kill(child.child.pid, signal.SIGKILL)
    wait_until(lambda: state(child.child.pid) == "Z")
    before = {name: rung.ledger.copied for name, rung in child.child.rungs.items()}
    for name, rung in child.child.rungs.items():
        with pytest.raises(ProcessLookupError):
            rung.read()
        assert rung.ledger.copied == before[name]
    with pytest.raises(ProcessLookupError):
        ladder.make("exclusive", child.child.pid).begin()
