"""Endpoints by the ends of their paths: strategies and names of sessions would be endless labels."""

ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/score",
    "/v1/score/sessions",
    "/extend",
    "/score",
    "/verify",
    "/pooling",
    "/v1/models",
)
OTHER = "other"


def endpoint_of(path: str) -> str:
    return next((end for end in ENDPOINTS if path.endswith(end)), OTHER)
