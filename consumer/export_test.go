package consumer

// Completed returns the runs of offsets, from inclusive and to exclusive, that
// a commit's metadata calls settled.
func Completed(metadata, cluster, topic string, partition int32, offset int64) ([][2]int64, error) {
	c, err := decodeCompletions(metadata, place(cluster, topic, partition), offset)
	runs := make([][2]int64, len(c.done))
	for i, r := range c.done {
		runs[i] = [2]int64{r.from, r.to}
	}
	return runs, err
}
