# A SPIRE server, and an agent that it knows by a token. Keys are in memory: each start begins anew.
rm -rf /run/spire/*
mkdir /run/spire/private && chmod 700 /run/spire/private
cd /run/spire/private

spire-server run -config /etc/spire/server.conf &
until spire-server healthcheck -socketPath server.sock; do sleep 0.2; done

# The name of a workload, and the user that it runs as.
entry() {
  spire-server entry create -socketPath server.sock -parentID spiffe://mesh.example/machine \
    -spiffeID "spiffe://mesh.example/$1" -selector "unix:uid:$2"
}
entry control-plane 10001
entry node/web 10011
# An ingress has two: what it shows the control plane, and what it shows other Envoys.
entry node/gpu-a 10021
entry pool/minilm 10021
entry node/gpu-b 10022
entry pool/minilm 10022

spire-server bundle show -socketPath server.sock > roots.pem
token=$(spire-server token generate -socketPath server.sock -spiffeID spiffe://mesh.example/machine)
exec spire-agent run -config /etc/spire/agent.conf -joinToken "${token#Token: }"
