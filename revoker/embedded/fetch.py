"""Fetch Kafka's jars into a folder: `python fetch.py FOLDER [GROUP ARTIFACT VERSION]...`.

A process of its own, because the resolver cannot be interrupted and keeps global state. It trusts nothing it gets;
`jars.py` does the checking.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def main(folder: Path, coordinates: list[tuple[str, str, str]]) -> None:
    from jgo.maven import Dependency, MavenContext, PythonResolver  # noqa: PLC0415 - only here, only in this process

    context = MavenContext(repo_cache=folder, resolver=PythonResolver(), timeout=30)
    wanted = [
        Dependency(context.project(group, artifact).at_version(version).artifact())
        for group, artifact, version in coordinates
    ]
    inputs, others = context.resolver.resolve(wanted)
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda dependency: dependency.artifact.resolve(), [*inputs, *others]):
            pass


if __name__ == "__main__":
    words = sys.argv[2:]
    main(Path(sys.argv[1]), list(zip(words[::3], words[1::3], words[2::3], strict=True)))
