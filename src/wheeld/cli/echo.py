"""The handler of `wheeld dev`: gives back what it gets. `wheeld worker wheeld.cli.echo:app` runs it elsewhere."""

from __future__ import annotations

from wheeld.client.app import App


def make_app(address: str | None = None) -> App:
    """An app with the one handler."""
    app = App(address)

    @app.job("echo", raw=True)
    async def echo(payload: bytes) -> bytes:
        return payload

    return app


app = make_app()
