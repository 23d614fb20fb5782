# Two targets, `cpu` and `cuda`, of one recipe: they differ in the PyTorch wheel and in what the
# NVIDIA runtime is told. The embedded model is inside; /models is for others.
#
#   docker build --target cpu  --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
#   docker build --target cuda .
ARG BASE_IMAGE=python:3.11-slim

# The dependencies, which change seldom, in a virtual environment that is copied whole.
FROM ${BASE_IMAGE} AS packages
# Empty: torch comes from where the other packages come from (on PyPI: the CUDA build).
ARG TORCH_INDEX=""
WORKDIR /build
RUN python3 -m venv /opt/venv
COPY constraints.txt ./
RUN /opt/venv/bin/python -m pip install -qq --no-cache-dir -c constraints.txt \
      ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch
COPY pyproject.toml ./
RUN python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
      > requirements.txt \
    && /opt/venv/bin/python -m pip install -qq --no-cache-dir -c constraints.txt -r requirements.txt

# The project itself, a layer of its own: a change of code moves megabytes, not the environment.
FROM packages AS project
COPY README.md LICENSE ./
COPY engine engine
COPY server server
RUN /opt/venv/bin/python -m pip install -qq --no-cache-dir --no-deps --target /opt/diglot .

# The CPU's kernels, for the levels of processors there are: the image itself has no compiler.
FROM project AS kernels
RUN command -v g++ > /dev/null \
    || (apt-get update -qq && apt-get install -qq -y --no-install-recommends g++ > /dev/null)
RUN PYTHONPATH=/opt/diglot /opt/venv/bin/python -m engine.native.prebuild /opt/kernels

# What serving never touches: C++ headers and test suites of the packages, and pip.
FROM packages AS slim
RUN site=$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
    && rm -rf "$site/torch/include" "$site/torch/share" "$site/torch/test" \
    && find "$site/torch/bin" -type f ! -name torch_shm_manager -delete \
    && find "$site" -path "$site/torch" -prune -o -type d -name tests -prune -exec rm -rf {} + \
    && find "$site" -name '*.a' -delete \
    && /opt/venv/bin/python -m pip uninstall -qq -y pip

FROM ${BASE_IMAGE} AS runtime
RUN groupadd --gid 10001 diglot \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin diglot \
    && install -d -o diglot -g diglot /models
COPY --from=slim /opt/venv /opt/venv
COPY --from=project /opt/diglot /opt/diglot
COPY docker/entrypoint.sh docker/healthcheck.py /opt/diglot/
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/diglot \
    PYTHONUNBUFFERED=1 \
    DIGLOT_HOST=0.0.0.0
USER 10001:10001
WORKDIR /models
VOLUME /models
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=4s --start-period=120s --retries=3 \
    CMD ["python", "/opt/diglot/healthcheck.py"]
ENTRYPOINT ["/opt/diglot/entrypoint.sh"]

FROM runtime AS cuda
# Triton compiles a small C file for each kernel that it launches.
USER root
RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends gcc libc6-dev > /dev/null \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# Last, so that a build without --target makes this one.
FROM runtime AS cpu
COPY --from=kernels /opt/kernels /opt/kernels
ENV DIGLOT_DEVICE=cpu \
    DIGLOT_NATIVE_PREBUILT=/opt/kernels
