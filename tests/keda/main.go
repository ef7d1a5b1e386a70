// Asks a control plane with the scalers of KEDA's operator, as KEDA does for one trigger.
//
// In comes the trigger as one argument, {"type", "metadata", "auth"}; each line of stdin asks for
// the metrics once. Out come lines of JSON: first the specs that KEDA gives the autoscaler, then
// for each question metrics and activity, and for external-push also what the stream says.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers"
	"github.com/kedacore/keda/v2/pkg/scalers/scalersconfig"
	v2 "k8s.io/api/autoscaling/v2"
)

type trigger struct {
	Type     string            `json:"type"`
	Metadata map[string]string `json:"metadata"`
	Auth     map[string]string `json:"auth"`
}

var mutex sync.Mutex

func say(key string, value any) {
	mutex.Lock()
	defer mutex.Unlock()
	line, err := json.Marshal(map[string]any{key: value})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

func made(of trigger) (scalers.Scaler, error) {
	config := &scalersconfig.ScalerConfig{
		ScalableObjectName:      "minilm",
		ScalableObjectNamespace: "default",
		ScalableObjectType:      "ScaledObject",
		GlobalHTTPTimeout:       3 * time.Second,
		TriggerType:             of.Type,
		TriggerMetadata:         of.Metadata,
		AuthParams:              of.Auth,
		MetricType:              v2.AverageValueMetricType,
	}
	switch of.Type {
	case "external":
		return scalers.NewExternalScaler(config)
	case "external-push":
		return scalers.NewExternalPushScaler(config)
	case "metrics-api":
		return scalers.NewMetricsAPIScaler(config, nil)
	}
	return nil, fmt.Errorf("no trigger of type %q here", of.Type)
}

func main() {
	var of trigger
	if err := json.Unmarshal([]byte(os.Args[1]), &of); err != nil {
		panic(err)
	}
	scaler, err := made(of)
	if err != nil {
		say("error", err.Error())
		os.Exit(1)
	}
	context_ := context.Background()
	if push, ok := scaler.(scalers.PushScaler); ok {
		active := make(chan bool)
		go push.Run(context_, active)
		go func() {
			for each := range active {
				say("stream", each)
			}
		}()
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		specs := scaler.GetMetricSpecForScaling(context_)
		say("specs", specs)
		for _, spec := range specs {
			metrics, active, err := scaler.GetMetricsAndActivity(context_, spec.External.Metric.Name)
			if err != nil {
				say("error", err.Error())
				continue
			}
			say("answer", map[string]any{"metrics": metrics, "active": active})
		}
	}
	scaler.Close(context_)
}
