"""Fetches Keycloak's distribution into a folder: `python fetch.py FOLDER VERSION`. A process of its own, as Kafka's is
(`revoker.embedded.fetch`). Whoever calls it checks what came.
"""

import sys
from pathlib import Path

from jgo.maven import MavenContext, PythonResolver

if __name__ == "__main__":
    context = MavenContext(repo_cache=Path(sys.argv[1]), resolver=PythonResolver(), timeout=60)
    project = context.project("org.keycloak", "keycloak-quarkus-dist")
    project.at_version(sys.argv[2]).artifact(packaging="zip").resolve()
