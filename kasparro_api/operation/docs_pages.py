"""`/docs` and `/redoc` from files of this machine: they work without the internet and tell no third party."""

from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

STATIC = "/static-docs"
# ReDoc's footer asks its maker's server for a logo; the browser is told to ask nobody but this one
ONLY_HERE = {
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src blob:"
}


def install(app: FastAPI) -> None:
    """Serve both pages, and what they load from the package `fastapi-offline`."""
    # as_file is not needed: the package is installed as plain files
    app.mount(STATIC, StaticFiles(directory=str(files("fastapi_offline") / "static")), name="static-docs")

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=f"{app.title} API",
            swagger_js_url=f"{STATIC}/swagger-ui-bundle.js",
            swagger_css_url=f"{STATIC}/swagger-ui.css",
            swagger_favicon_url=f"{STATIC}/favicon.png",
        )
        return HTMLResponse(page.body, headers=ONLY_HERE)

    @app.get("/redoc", include_in_schema=False)
    def redoc() -> HTMLResponse:
        page = get_redoc_html(
            openapi_url="/openapi.json",
            title=f"{app.title} API",
            redoc_js_url=f"{STATIC}/redoc.standalone.js",
            redoc_favicon_url=f"{STATIC}/favicon.png",
            with_google_fonts=False,
        )
        return HTMLResponse(page.body, headers=ONLY_HERE)
