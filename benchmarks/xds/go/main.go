// Program peer is a process of the xDS benchmark in Go: go-control-plane as a server, or clients.
//
// It takes orders as lines of JSON, as the processes in Python do: see ../orders.py. Arguments:
// "client", or "linear" or "snapshot" with how many pools there are and how many replicas of each.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	tiers    = 4
	step     = 1000                  // between the weights of two tiers, as ../fleet.py has it
	settle   = 20 * time.Millisecond // in which what belongs to a push ends, as in ../server.py
	patience = 120 * time.Second     // for all answers to a push
	atOnce   = 50                    // streams that begin at a time
)

type order struct {
	Do               string   `json:"do"`
	Pool             int      `json:"pool"`
	Answers          int64    `json:"answers"`
	Address          string   `json:"address"`
	Numbers          []int    `json:"numbers"`
	Pools            int      `json:"pools"`
	TypeURLs         []string `json:"type_urls"`
	StreamsOfChannel int      `json:"streams_of_channel"`
}

type answer map[string]any

func main() {
	say, obey := answer{}, newClients().obey
	if os.Args[1] != "client" {
		served := serve(os.Args[1], number(os.Args[2]), number(os.Args[3]))
		say, obey = answer{"port": served.port}, served.obey
	}
	out, in := json.NewEncoder(os.Stdout), bufio.NewReader(os.Stdin)
	must(out.Encode(say))
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var given order
		must(json.Unmarshal(line, &given))
		must(out.Encode(obey(given)))
	}
}

// A server with one type of resource: the endpoints of all pools.
type plane struct {
	port     int
	replicas int
	changes  int
	push     func(pool int)
	answers  atomic.Int64
	awaited  atomic.Int64
	complete chan time.Time
}

func serve(kind string, pools, replicas int) *plane {
	served := &plane{replicas: replicas, complete: make(chan time.Time, 1)}
	all := make(map[string]types.Resource, pools)
	for pool := range pools {
		all[poolName(pool)] = served.assignment(pool)
	}
	var config cache.Cache
	switch kind {
	case "linear":
		linear := cache.NewLinearCache(resource.EndpointType, cache.WithInitialResources(all))
		config = linear
		served.push = func(pool int) {
			must(linear.UpdateResource(poolName(pool), served.assignment(pool)))
		}
	case "snapshot":
		// All nodes have the same snapshot, and share it.
		snapshots := cache.NewSnapshotCache(false, sameForAll{}, nil)
		config = snapshots
		served.push = func(pool int) {
			all[poolName(pool)] = served.assignment(pool)
			endpoints := make([]types.Resource, 0, len(all))
			for _, each := range all {
				endpoints = append(endpoints, each)
			}
			made, err := cache.NewSnapshot(strconv.Itoa(served.changes),
				map[resource.Type][]types.Resource{resource.EndpointType: endpoints})
			must(err)
			must(snapshots.SetSnapshot(context.Background(), "all", made))
		}
		served.push(0)
	default:
		panic("no such server: " + kind)
	}
	calls := server.CallbackFuncs{StreamDeltaRequestFunc: served.requested}
	listening := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(
		listening, server.NewServer(context.Background(), config, calls))
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	served.port = socket.Addr().(*net.TCPAddr).Port
	go func() { must(listening.Serve(socket)) }()
	return served
}

type sameForAll struct{}

func (sameForAll) ID(*core.Node) string { return "all" }

// assignment has a weight for each replica that differs from that of the change before.
func (p *plane) assignment(pool int) *endpoint.ClusterLoadAssignment {
	localities := make([]*endpoint.LocalityLbEndpoints, tiers)
	for tier := range tiers {
		localities[tier] = &endpoint.LocalityLbEndpoints{
			Locality:            &core.Locality{SubZone: fmt.Sprintf("tier-%d", tier)},
			LoadBalancingWeight: wrapperspb.UInt32(uint32(step*(1+tier) + p.changes%step)),
		}
	}
	for index := range p.replicas {
		tier := index % tiers
		address := &core.SocketAddress{
			Address:       fmt.Sprintf("10.%d.%d.%d", pool/250, pool%250, 1+index),
			PortSpecifier: &core.SocketAddress_PortValue{PortValue: 9000},
		}
		localities[tier].LbEndpoints = append(localities[tier].LbEndpoints, &endpoint.LbEndpoint{
			HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{
				Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: address}},
			}},
			LoadBalancingWeight: wrapperspb.UInt32(uint32(step*(1+tier) + p.changes%step)),
		})
	}
	return &endpoint.ClusterLoadAssignment{ClusterName: poolName(pool), Endpoints: localities}
}

// requested counts acknowledgements.
func (p *plane) requested(_ int64, request *discovery.DeltaDiscoveryRequest) error {
	if request.ResponseNonce != "" && p.answers.Add(1) == p.awaited.Load() {
		p.complete <- time.Now()
	}
	return nil
}

func (p *plane) obey(given order) answer {
	switch given.Do {
	case "report":
		runtime.GC()
		debug.FreeOSMemory()
		statm, err := os.ReadFile("/proc/self/statm")
		must(err)
		descriptors, err := os.ReadDir("/proc/self/fd")
		must(err)
		pages := number(strings.Fields(string(statm))[1])
		return answer{
			"rss": pages * os.Getpagesize(), "descriptors": len(descriptors),
			"tasks": runtime.NumGoroutine(),
		}
	case "change":
		p.changes++
		p.answers.Store(0)
		p.awaited.Store(given.Answers)
		// What a change is made of belongs to it: the cache marshals what it is handed.
		cpu, begun := seconds(), time.Now()
		p.push(given.Pool)
		if given.Answers == 0 {
			return answer{}
		}
		select {
		case at := <-p.complete:
			time.Sleep(settle)
			return answer{
				"build_wall": 0.0, "build_cpu": 0.0, "wall": at.Sub(begun).Seconds(),
				"cpu": seconds() - cpu, "surplus": p.answers.Load() - given.Answers,
			}
		case <-time.After(patience):
			panic(fmt.Sprintf("%d of %d answers to a change", p.answers.Load(), given.Answers))
		}
	}
	panic("no such order: " + given.Do)
}

// Streams to a server, until they are closed.
type group struct {
	channels []*grpc.ClientConn
	open     context.Context
	close    context.CancelFunc
}

// Streams to servers, by the server's address, and how many a server has ended.
type clients struct {
	groups map[string]*group
	lost   atomic.Int64
}

func newClients() *clients { return &clients{groups: map[string]*group{}} }

func (c *clients) obey(given order) answer {
	switch given.Do {
	case "open":
		made := &group{}
		made.open, made.close = context.WithCancel(context.Background())
		c.groups[given.Address] = made
		var ready sync.WaitGroup
		turn := make(chan struct{}, atOnce)
		for index, number := range given.Numbers {
			if index%given.StreamsOfChannel == 0 {
				channel, err := grpc.NewClient(given.Address,
					grpc.WithTransportCredentials(insecure.NewCredentials()),
					grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
				must(err)
				made.channels = append(made.channels, channel)
			}
			channel := made.channels[len(made.channels)-1]
			ready.Add(1)
			turn <- struct{}{}
			go c.stream(made.open, channel, number, given, func() { ready.Done(); <-turn })
		}
		ready.Wait()
	case "close":
		gone := c.groups[given.Address]
		gone.close()
		for _, channel := range gone.channels {
			must(channel.Close())
		}
		delete(c.groups, given.Address)
	default:
		panic("no such order: " + given.Do)
	}
	return answer{"lost": c.lost.Load(), "cpu": seconds()}
}

// stream asks for the endpoints, and whatever else, of all pools, and accepts what it is sent.
func (c *clients) stream(
	open context.Context, channel *grpc.ClientConn, number int, given order, ready func(),
) {
	client := discovery.NewAggregatedDiscoveryServiceClient(channel)
	stream, err := client.DeltaAggregatedResources(open)
	must(err)
	node := &core.Node{Id: fmt.Sprintf("sidecar-%d", number), Cluster: "apps", UserAgentName: "envoy"}
	for _, url := range given.TypeURLs {
		request := &discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: url}
		if url == resource.EndpointType || url == resource.RouteType {
			for pool := range given.Pools {
				request.ResourceNamesSubscribe = append(request.ResourceNamesSubscribe, poolName(pool))
			}
		}
		must(stream.Send(request))
		node = nil
	}
	missing := given.Pools * len(given.TypeURLs)
	for {
		response, err := stream.Recv()
		if err != nil {
			if open.Err() == nil {
				c.lost.Add(1)
			}
			return
		}
		accepted := &discovery.DeltaDiscoveryRequest{
			TypeUrl: response.TypeUrl, ResponseNonce: response.Nonce,
		}
		// An error shows in what is received next.
		_ = stream.Send(accepted)
		if missing > 0 {
			if missing -= len(response.Resources); missing <= 0 {
				ready()
			}
		}
	}
}

func poolName(pool int) string { return fmt.Sprintf("pool-%04d", pool) }

func seconds() float64 {
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func number(text string) int {
	found, err := strconv.Atoi(text)
	must(err)
	return found
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
