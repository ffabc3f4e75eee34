# The image of cemesh: docs/image.md says what is in it, and how it is made and run.
#
# What it does stands in the scripts of image/, which the tests run without a container engine.

# By its version. `--build-arg PYTHON=…@sha256:…` pins its content as well.
ARG PYTHON=docker.io/library/python:3.13.18-slim-trixie

FROM ${PYTHON} AS build
WORKDIR /src
COPY image/tools image/tools.lock image/
RUN ["image/tools", "/opt/tools"]
COPY image/packages image/packages.lock image/
RUN ["image/packages", "/opt/tools", "/opt/cemesh"]
COPY image/cemesh image/bare image/
COPY LICENSE README.md pyproject.toml ./
COPY broker broker
COPY cemesh cemesh
COPY charts charts
COPY delivery delivery
COPY sinks sinks
COPY sources sources
# The time of whatever is built: the same sources give the same wheel.
ARG SOURCE_DATE_EPOCH=315532800
RUN ["image/cemesh", "/opt/tools", "/opt/cemesh"]
RUN ["install", "--directory", "--mode", "0755", "/var/lib/cemesh"]

FROM ${PYTHON}
COPY --from=build /src/image/bare /opt/bare
RUN ["/opt/bare", "/usr/local"]
COPY --from=build /opt/cemesh /opt/cemesh
# A volume that is mounted here for the first time takes its owner over.
COPY --from=build --chown=65532:65532 /var/lib/cemesh /var/lib/cemesh

ENV PATH=/opt/cemesh/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    CEMESH_HOST=0.0.0.0 \
    CEMESH_DATA_DIR=/var/lib/cemesh

ARG REVISION=unknown
LABEL org.opencontainers.image.title="cemesh" \
      org.opencontainers.image.description="A CloudEvents broker and trigger event mesh" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"

EXPOSE 8080 8081
# What a manifest gives as a relative folder is on the volume.
WORKDIR /var/lib/cemesh
# A number, so that Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532
STOPSIGNAL SIGTERM
# The first process of a container has to wait for the children of others, which cemesh does not:
# what a program of a JobSink or ContainerSource leaves behind would stay as a zombie.
ENTRYPOINT ["dumb-init", "--single-child", "--", "cemesh"]
CMD ["--help"]
