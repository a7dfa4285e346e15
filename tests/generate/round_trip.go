// Reads events of en57 as JSON lines and writes them back.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

type result struct {
	Known  bool  `json:"known"`
	Event  Event `json:"event"`
	Append any   `json:"append"`
}

func options(tags []string, meta *Meta) AppendOptions[Meta] {
	return AppendOptions[Meta]{Tags: tags, Meta: meta, CorrelationID: "c", CausationID: "d", TraceID: "e"}
}

func toAppend(event Event) any {
	if event, ok := event.(*OrderPlacedV2Event); ok {
		return ToAppendOrderPlacedV2(event.Data, options(event.Tags, event.Meta))
	}
	if event, ok := event.(*RequiredV1Event); ok {
		data := event.Data
		if len(data.List) == 0 {
			data.List = nil // which must not become null
		}
		for key, value := range data.Map {
			if len(value) == 0 {
				data.Map[key] = nil
			}
		}
		return ToAppendRequiredV1(data, options(event.Tags, event.Meta))
	}
	return nil
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		event, err := ParseEvent(lines.Bytes())
		if err != nil {
			line, _ := json.Marshal(map[string]string{"error": err.Error()})
			fmt.Println(string(line))
			continue
		}
		_, unknown := event.(*UnknownEvent)
		line, err := json.Marshal(result{!unknown, event, toAppend(event)})
		if err != nil {
			panic(err)
		}
		fmt.Println(string(line))
	}
}
