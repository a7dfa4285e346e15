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

func toAppend(event Event) any {
	if event, ok := event.(*OrderPlacedV2Event); ok {
		options := AppendOptions[Meta]{Tags: event.Tags, Meta: event.Meta}
		return ToAppendOrderPlacedV2(event.Data, options)
	}
	return nil
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		event, err := ParseEvent(lines.Bytes())
		if err != nil {
			panic(err)
		}
		_, unknown := event.(*UnknownEvent)
		line, err := json.Marshal(result{!unknown, event, toAppend(event)})
		if err != nil {
			panic(err)
		}
		fmt.Println(string(line))
	}
}
