"""Records: what a process saw, one JSON object per line, read by another process while it is written.

Every record has ``kind`` and ``t``, the time on the one clock of the machine. A process writes a file
of its own; the last line of one that was killed may be cut and is then left out.

Publishers: intent (id, topic), ack (ids, topics, positions), undone (ids that were rolled back), failed
(ids), paused and resumed (name). Readers: began (cursor), open (status), block (id, name, and payload or
what a control event told), cut (why; own: on purpose). The witness: entry (topic, seq, tag, prev, id), heads.
"""

import time

import orjson


class Recorder:
    """Appends records to a file; each is in the hands of the system when ``write`` returns."""

    def __init__(self, path):
        self._file = path.open("ab", buffering=0)

    def write(self, kind, **fields):
        self._file.write(orjson.dumps({"kind": kind, "t": time.time(), **fields}) + b"\n")

    def close(self):
        self._file.close()


class Follower:
    """Reads the records of all processes of a folder, each once, those of one file in their order."""

    def __init__(self, folder):
        self.folder = folder
        self._read = {}

    def new(self):
        for path in sorted(self.folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            yield from map(orjson.loads, whole.splitlines())


class Flag:
    """A file that tells child processes of a folder something while it exists."""

    def __init__(self, folder, name):
        self._path = folder / f"{name}.flag"

    def __bool__(self):
        return self._path.exists()

    def up(self):
        self._path.touch()

    def down(self):
        self._path.unlink(missing_ok=True)
