// Program client calls a target again and again, and prints what came of each call.
//
// It is grpc-go's counterpart of ../client.py: the same arguments, the same lines.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds"
)

const (
	method = "/plimsoll.test.Embedder/Embed"
	pause  = 5 * time.Millisecond
)

// plain sends and takes bytes as they are.
type plain struct{}

func (plain) Name() string                       { return "proto" }
func (plain) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (plain) Unmarshal(data []byte, v any) error { *v.(*[]byte) = append([]byte{}, data...); return nil }

var _ encoding.Codec = plain{}

func main() {
	most, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	channel, err := grpc.NewClient(
		os.Args[1],
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{})),
	)
	if err != nil {
		panic(err)
	}
	inFlight, lines := make(chan struct{}, most), make(chan string)
	go func() {
		for line := range lines {
			fmt.Println(line)
		}
	}()
	for {
		inFlight <- struct{}{}
		go func() {
			defer func() { <-inFlight }()
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			var answer []byte
			if err := channel.Invoke(ctx, method, []byte("a text"), &answer); err != nil {
				lines <- fmt.Sprintf("%s %q", status.Code(err), status.Convert(err).Message())
				return
			}
			lines <- string(answer)
		}()
		time.Sleep(pause)
	}
}
