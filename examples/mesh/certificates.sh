# A certificate authority, and for each node a certificate and a bootstrap. Run again it changes nothing.
cd /var/lib/plimsoll
[ ! -e gpu-b.yaml ] || exit 0

plimsoll ca init ca --trust-domain mesh.example
plimsoll ca issue ca --control-plane --host 172.30.9.2 --out control-plane

bootstrap() {
  node=$1
  shift
  plimsoll ca issue ca "$node" --out "$node"
  plimsoll bootstrap --node "$node" --xds 172.30.9.2:18000 --identity ads \
    --tls-certificate "$node/certificate.pem" --tls-key "$node/key.pem" --tls-ca "$node/roots.pem" \
    --tls-name spiffe://mesh.example/control-plane "$@" > "$node.yaml"
}
bootstrap web --listen minilm=172.30.9.11:10000
bootstrap gpu-a --ingress minilm=172.30.9.21:9443,172.30.9.21:9000
bootstrap gpu-b --ingress minilm=172.30.9.22:9443,172.30.9.22:9000
