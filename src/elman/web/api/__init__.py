"""The addresses of the inspector's API, a module a subject."""

from starlette.routing import Route

from elman.web.api import (
    analyses,
    captions,
    export,
    hunting,
    jobs,
    lesions,
    playground,
    predictions,
    recordings,
    runs,
    translations,
)


def routes() -> list[Route]:
    """All addresses below /api/."""
    return [
        *runs.ROUTES,
        *jobs.ROUTES,
        *recordings.ROUTES,
        *playground.ROUTES,
        *captions.ROUTES,
        *translations.ROUTES,
        *predictions.ROUTES,
        *hunting.ROUTES,
        *lesions.ROUTES,
        *analyses.ROUTES,
        *export.ROUTES,
    ]
