# docker build -t waifu2x .
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" waifu2x in.png out.png
#
# docs/install.md describes the use. tests/test_container.py runs the steps without a container.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++
COPY . /src
WORKDIR /src
ENV WAIFU2X_CUDA=0 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN pip wheel --no-deps --wheel-dir /wheels .
RUN python -m venv --without-pip /opt/waifu2x
RUN pip --python /opt/waifu2x/bin/python install --no-compile "$(echo /wheels/*.whl)[serve]"
RUN python packaging/slim.py /opt/waifu2x
# The first run also stores the compiled modules, which a user without rights cannot.
RUN /opt/waifu2x/bin/waifu2x docs/images/sample.jpg /sample_2x.png
RUN /opt/waifu2x/bin/python -m compileall -q /opt/waifu2x/lib/python*/site-packages/waifu2x

FROM python:${PYTHON}-slim-bookworm
COPY --from=build /opt/waifu2x /opt/waifu2x
ENV PATH=/opt/waifu2x/bin:$PATH PYTHONDONTWRITEBYTECODE=1
WORKDIR /data
USER 1000:1000
# Of `waifu2x serve`.
EXPOSE 8760
ENTRYPOINT ["waifu2x"]
CMD ["--help"]
