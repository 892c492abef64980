// Package chaos tests the program's guarantees by breaking what is around it, at random and repeatably: each seed is a
// run of its own, in which members join, leave, are killed and paused, connections are cut, brokers, the endpoint and
// agify fail in the ways that they do, and records are published all the while. An oracle that knows nothing of the
// program's insides judges what was seen from outside: what came to the webhook, what was committed at the broker and
// what lies in the dead-letter topic.
//
//	make chaos SEEDS=20          seeds 1 to 20, on kfake
//	make chaos SEED=7            one seed, with its story
//	make chaos SEEDS=10 KAFKA=1  processes on three brokers of Apache Kafka, which are killed too
//	make chaos-faults            the oracle's own test: faults built into the program, each of which it must find
//
// A seed decides what happens; how goroutines and processes interleave is decided anew each time.
package chaos
