"""What is pickled: how much, where in the object, what it takes, what cannot be.

What all of it uses:

    picklers.py       the picklers by name and protocol, and how hooks get into them
    counting.py       a file that counts bytes and keeps none
    timing.py         calls timed: warm, repeated, the collector's part told
    apart.py          work in a fork that answers with plain values
    failures.py       what can go wrong on the way, in words

What it costs, in bytes and seconds:

    cost.py           dumps and loads, with one protocol or with all
    deep_size.py      the size of an object in this process
    round_trip.py     to another process and back, by the ways of transports/
    alternatives.py   what else one could send instead
    functions.py      what a function holds; captured.py: what goes along with it

What cannot be sent, and where it is:

    offenders.py      all that blocks the dump, with paths and advice
    sifting.py        the pass of a pickler that goes on where pickling fails;
                      sifting_in_python.py is the same for a pickler in Python;
                      gone.py stands where something is left out
    reductions.py     what objects reduce to, looked at before the pickler has it
    loading.py        what pickles and does not load; rebuilding.py goes on there
    spawned.py        what only a fresh interpreter cannot load
    search.py         the paths to some of a million objects; elements.py looks at
                      large containers all at once
    advice.py         what to do about it, by type

Where the bytes of a pickle are, and what that is made of:

    breakdown.py      where the bytes are, by path and by type, from one pass
    words.py          two words of memory: the pickler's position, and its depth
    recording.py      one pass of the C pickler, noted at every object
    opcodes.py        the lengths of what stands in the stream
    slowly.py         the same of a pickler in Python, which shows all by itself;
                      as_in_c.py is the one that writes what C's writes
    reading.py        from these: where each object begins and ends
    positions.py      the same, whichever way it was found
    headers.py        types and references of many objects at once
    by_type.py        the table by type
    below.py          what is below an object, as people see it
    tree.py           the tree by path
    describe.py       what an object is, in a few words
    paths.py          the spelling of paths, for which children.py gives the steps
"""
