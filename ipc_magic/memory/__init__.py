"""How much of its inherited memory a forked child copied, read from outside of it.

    from ipc_magic.memory.reading import read
    from ipc_magic.memory.tracker import Tracker

    # By the best mechanism that works here; this process only waits meanwhile.
    with Tracker(parent_waits=True) as tracker, tracker.track() as child:
        if not (pid := os.fork()):
            child.begin_here()     # in the child: let the parent note its pages
            work()
            child.done_here()      # let the parent take the last reading
            os._exit(0)
        child.follow(pid)
        child.serve()              # answer the child until it has ended
        os.waitpid(pid, 0)
        print(child.figures)       # its Figures

    print(read(pid))               # what any process shares, and holds alone

The mechanisms, best first. Each counts from the moment `begin_here` returns:

| mechanism | copied is | exact | needs |
| --- | --- | --- | --- |
| `uffd` | inherited pages that the child wrote | written: yes | Linux 6.7 |
| `witness` | inherited and exclusive; a witness holds the originals | yes | Linux 4.2 |
| `exclusive` | inherited and exclusive: also given up by others | at most | 4.2 |
| `pfn` | inherited pages whose page frame changed | yes | CAP_SYS_ADMIN |
| `smaps` | the fall of Shared_Dirty | estimate | Linux 4.14 |
| `psutil` | not known: only the unique memory (USS) is | | psutil |

How the data go through the room:

    pages.py        sets of page numbers, as intervals
    maps.py         the text of /proc/PID/maps
    pagemap.py      the entries of /proc/PID/pagemap, one of 64 bits a page
    pagescan.py     the ioctl PAGEMAP_SCAN on the same file: regions of pages
    userfault.py    the system call userfaultfd and its ioctls
    smaps.py        the kernel's sums: /proc/PID/smaps_rollup
    ledger.py       what happened to the inherited pages, from one reading to the next
    figures.py      the numbers that all mechanisms give
    rungs/          the mechanisms, one a file, behind one interface
    forks.py        forks of our own, and what a child must not hold
    witness.py      an idle process that holds the originals
    probe.py        tries a mechanism on a page of its own in a throwaway child
    ladder.py       the best that works here, tried once in a process
    handshake.py    how child and parent meet at the two moments of a reading
    track.py        one child followed from its fork to its last reading
    tracker.py      the children of one burst of forks
    reading.py      one look at a process that somebody else forked
    observing/      children that the user's own code forks: watch_forks
"""
