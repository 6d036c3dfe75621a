"""What we say of ourselves: the OpenAPI and AsyncAPI documents, for programs as JSON and for people as pages."""

from revoker.api.documents.routes import routes

__all__ = ["routes"]
