"""Writes docs/cluster.schema.json, the JSON Schema of cluster files, for editors."""

import json
from pathlib import Path

from kaleidoscope.cluster.schema import cluster_schema

if __name__ == "__main__":
    path = Path(__file__).parent / "cluster.schema.json"
    path.write_text(json.dumps(cluster_schema(), indent=1) + "\n", "utf-8")
    print(f"wrote {path}")
