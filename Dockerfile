# The image contains only the static program: no shell, no library, no certificates.
#
#   docker build -t mirrorshift:0.1.0 .
#   docker build --platform linux/arm64 -t mirrorshift:0.1.0-arm64 .
#
# The platform is that of the builder, so another one takes either its machine or an emulator. BUILDER is any image with Rust 1.95, a C
# compiler and the static C library; CARGO_FLAGS is for builders that hold all crates themselves (`--offline`).
ARG BUILDER=docker.io/library/rust:1.95-bookworm

FROM ${BUILDER} AS builder
ARG CARGO_FLAGS=
WORKDIR /source
COPY . .
# As packaging/build does it: given a target, build scripts and macros are built without the flags.
RUN triple="$(rustc -vV | sed -n 's/^host: //p')" \
 && RUSTFLAGS='-C target-feature=+crt-static' CARGO_TARGET_DIR=/build \
    cargo build --release --locked ${CARGO_FLAGS} -p mirrorshift --target "$triple" \
 && cp "/build/$triple/release/mirrorshift" /mirrorshift

FROM scratch
COPY --from=builder /mirrorshift /mirrorshift
# Root without capabilities is what the host's system bus asks for; the manifests drop all else.
USER 0:0
EXPOSE 9151
ENTRYPOINT ["/mirrorshift"]
CMD ["agent"]
