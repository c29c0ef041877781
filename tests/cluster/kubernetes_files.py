"""Twenty files of clusters on Kubernetes, as different as people's clusters are."""

IMAGE = "ghcr.io/example/kaleidoscope:0.1.0"
GPU = {"resources": {"GPU": 1}}


def a_file(workers, kubernetes=None, **more):
    """Return the content of a cluster's file."""
    return {"kind": "kubernetes", "workers": workers, "kubernetes": {"image": IMAGE, **(kubernetes or {})}, **more}


FILES = {
    "least": a_file({"cpu": None}),
    "versioned": a_file({"cpu": {"max": 3}}, kaleidoscope=1, name="photos"),
    "half-cores": a_file({"cpu": {"cpus": 0.5, "memory": "1500MB"}}),
    "odd-cores": a_file({"cpu": {"cpus": 1.333, "memory": "1.5GiB"}}),
    "threads": a_file({"cpu": {"cpus": 8, "threads": 4, "memory": "32GiB"}}),
    "two-groups": a_file({"cpu": {"min": 1, "max": 20}, "gpu": {"max": 4, **GPU}}),
    "many-gpus": a_file({"gpu": {"cpus": 12, "memory": "85GiB", "resources": {"GPU": 8}, "max": 2}}),
    "other-resource": a_file({"big": {"resources": {"MEMORY": 2.5, "DISK": 1}}}),
    "spot": a_file({"cpu": {"spot": True, "lifetime": "6 hours", "stagger": "30 minutes"}}),
    "lifetime": a_file({"cpu": {"lifetime": "90 minutes"}}),
    "account": a_file(
        {"cpu": None},
        {
            "service_account": {
                "name": "augment",
                "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/a"},
            }
        },
    ),
    "made-account": a_file({"cpu": None}, {"service_account": {"name": "there.already", "create": False}}),
    "secrets": a_file(
        {"cpu": None},
        {"secrets": ["s3", {"secret": "db", "key": "password", "env": "DB_PASSWORD"}], "namespace": "a-b"},
    ),
    "registry": a_file(
        {"cpu": {"image": "ghcr.io/example/other@sha256:" + "0" * 64}},
        {"image_pull_secrets": ["regcred"], "image_pull_policy": "Always"},
    ),
    "placed": a_file(
        {
            "cpu": {"node_selector": {"pool": "cpu"}},
            "gpu": {
                **GPU,
                "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
                "tolerations": [{"key": "team", "operator": "Equal", "value": "vision", "effect": "NoExecute"}],
            },
        },
        {"node_selector": {"kubernetes.io/arch": "amd64"}, "tolerations": [{"key": "shared", "operator": "Exists"}]},
    ),
    "labelled": a_file(
        {"cpu": {"labels": {"cost-centre": "7"}, "annotations": {"note": "to be: seen, 'so'"}}},
        {"labels": {"team": "vision"}, "annotations": {"prometheus.io/scrape": "true"}},
    ),
    "scheduler": a_file(
        {"cpu": None},
        {
            "scheduler": {
                "cpus": 2,
                "memory": "8GiB",
                "node_selector": {"pool": "base"},
                "tolerations": [{"key": "base", "operator": "Exists"}],
                "labels": {"part": "scheduler"},
            }
        },
    ),
    "env": a_file({"cpu": {"env": {"B": "2: two", "EMPTY": ""}}}, env={"A": "1", "YES": "yes"}, dashboard=False),
    "own-fields": a_file(
        {"cpu": {"pod": {"priorityClassName": "low", "securityContext": {"runAsUser": 2000}}}},
        {"pod": {"dnsPolicy": "ClusterFirst"}, "scheduler": {"pod": {"priorityClassName": "high"}}},
    ),
    "timeouts": a_file({"cpu": {"max": 9}}, {"idle_timeout": "0s", "pending_timeout": "3 minutes"}, name="a"),
}
