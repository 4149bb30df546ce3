# Stands in for the image of Prometheus where no registry gives it: Debian's own, an older one, as the same user.
FROM python:3.13-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus wget >/dev/null \
 && install -d -o nobody /prometheus
USER nobody
ENTRYPOINT ["prometheus"]
