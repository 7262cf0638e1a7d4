# One image for every service of docker-compose.yml; each says its own command.

FROM python:3.11-slim AS build
WORKDIR /build
# Compiled here, since nothing is in the image's containers, where every run is a process of its own
ENV UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1
COPY requirements requirements
RUN pip install --no-cache-dir --require-hashes --requirement requirements/bootstrap.lock
RUN uv venv /opt/kasparro \
    && uv pip install --no-cache --python /opt/kasparro --require-hashes --requirement requirements/run.lock
COPY README.md pyproject.toml ./
COPY kasparro_api kasparro_api
COPY kasparro_pipeline kasparro_pipeline
# The build backend is the one of the lock, by its hash
RUN uv build --wheel --build-constraints requirements/dev.lock --require-hashes --out-dir dist \
    && uv pip install --no-cache --python /opt/kasparro --no-deps dist/*.whl
# Dagster looks for [tool.dg] in the folders above the installed package
RUN cp pyproject.toml /opt/kasparro/

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home kasparro \
    && install --directory --owner kasparro /app/dagster/storage
COPY --from=build /opt/kasparro /opt/kasparro
WORKDIR /app
COPY workspace.yaml ./
COPY dagster.yaml dagster/
COPY data data
ENV PATH=/opt/kasparro/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DAGSTER_HOME=/app/dagster
USER kasparro
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 \
    CMD ["python", "-m", "kasparro_pipeline.stack.probe", "http://127.0.0.1:8000/health/ready"]
CMD ["uvicorn", "kasparro_api.app:create_app", "--factory", "--timeout-graceful-shutdown", "20", \
     "--no-access-log", "--host", "0.0.0.0", "--port", "8000"]
