package peer;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Add up the votes of the tally sheets on a topic by area with Kafka Streams, up to an offset, and print them.
 *
 * <p>It keeps totals and the last statement of each sheet, at least once; no history, no check of an id, no database.
 * Arguments: bootstrap servers, topic, offset of the end, Avro schema, folder of the state, application id.
 */
public final class Totals {
    private static final CountDownLatch DONE = new CountDownLatch(1);
    private static final Map<String, long[]> FOUND = new TreeMap<>();

    private Totals() {}

    /** Run until the end of the log, then print a line for each area: its id, ballots cast, votes in order of name. */
    public static void main(String[] arguments) throws Exception {
        long end = Long.parseLong(arguments[2]);
        Schema schema = new Schema.Parser().parse(Path.of(arguments[3]).toFile());
        Topology topology = new Topology();
        topology.addSource("log", Serdes.Bytes().deserializer(), Serdes.ByteArray().deserializer(), arguments[1]);
        topology.addProcessor("sum", () -> new Sum(schema, end), "log");
        topology.addStateStore(store("units"), "sum");
        topology.addStateStore(store("totals"), "sum");
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[5]);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[4]);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 128L << 20);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 5000);
        settings.put(StreamsConfig.producerPrefix("linger.ms"), 20);
        settings.put(StreamsConfig.producerPrefix("batch.size"), 131072);
        KafkaStreams streams = new KafkaStreams(topology, settings);
        streams.setUncaughtExceptionHandler(
                fault -> {
                    fault.printStackTrace();
                    Runtime.getRuntime().halt(1);
                    return null;
                });
        streams.start();
        DONE.await();
        streams.close(Duration.ofSeconds(30)); // commits, so that the state is as durable as it becomes
        FOUND.forEach((area, totals) -> System.out.println(area + line(totals)));
    }

    private static String line(long[] numbers) {
        StringBuilder line = new StringBuilder();
        for (long number : numbers) {
            line.append(' ').append(number);
        }
        return line.toString();
    }

    private static org.apache.kafka.streams.state.StoreBuilder<KeyValueStore<String, byte[]>> store(String name) {
        Serde<String> text = Serdes.String();
        return Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(name), text, Serdes.ByteArray())
                .withCachingEnabled();
    }

    /** Replace a sheet's votes in the totals of its areas. */
    private static final class Sum implements Processor<Bytes, byte[], Void, Void> {
        private final GenericDatumReader<GenericRecord> reader;
        private final long end;
        private ProcessorContext<Void, Void> context;
        private KeyValueStore<String, byte[]> units;
        private KeyValueStore<String, byte[]> totals;
        private BinaryDecoder decoder;
        private GenericRecord reused;

        Sum(Schema schema, long end) {
            this.reader = new GenericDatumReader<>(schema);
            this.end = end;
        }

        @Override
        public void init(ProcessorContext<Void, Void> given) {
            context = given;
            units = given.getStateStore("units");
            totals = given.getStateStore("totals");
        }

        @Override
        public void process(Record<Bytes, byte[]> message) {
            try {
                add(message.value());
            } catch (java.io.IOException fault) {
                throw new java.io.UncheckedIOException(fault);
            }
            if (context.recordMetadata().orElseThrow().offset() + 1 == end) {
                try (KeyValueIterator<String, byte[]> all = totals.all()) {
                    all.forEachRemaining(one -> FOUND.put(one.key, numbers(one.value)));
                }
                context.commit();
                DONE.countDown();
            }
        }

        private void add(byte[] value) throws java.io.IOException {
            if (value[4] != SCHEMA_OF_UPDATES) {
                return;
            }
            decoder = DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, decoder);
            reused = reader.read(reused, decoder);
            GenericRecord unit = (GenericRecord) reused.get("reporting_unit");
            if (!unit.get("type").toString().equals("precinct")) {
                return;
            }
            String id = unit.get("id").toString();
            long stated = (Long) reused.get("stated_at");
            byte[] held = units.get(id);
            Statement before = held == null ? Statement.NONE : Statement.of(held);
            if (stated < before.stated) {
                return;
            }
            List<String> areas = new ArrayList<>();
            for (Object area : (List<?>) unit.get("area_path")) {
                areas.add(area.toString());
            }
            Statement now = new Statement(stated, areas, figures((GenericRecord) reused.get("counts")));
            units.put(id, now.bytes());
            change(before, -1);
            change(now, 1);
        }

        private long[] figures(GenericRecord counts) {
            String status = reused.get("count_status").toString();
            boolean counted = status.equals("COUNTED");
            if (counts == null || !counted && !status.equals("ANNULLED")) {
                return new long[0];
            }
            TreeMap<String, Long> votes = new TreeMap<>();
            ((Map<?, ?>) counts.get("votes")).forEach((name, of) -> votes.put(name.toString(), number(of)));
            long[] figures = new long[votes.size() + 1];
            figures[0] = number(counts.get("ballots_cast"));
            int place = 1;
            for (long of : votes.values()) {
                figures[place++] = counted ? of : 0;
            }
            return figures;
        }

        private void change(Statement statement, int sign) {
            if (statement.figures.length == 0) {
                return;
            }
            for (String area : statement.areas) {
                byte[] held = totals.get(area);
                long[] sums = held == null ? new long[statement.figures.length] : numbers(held);
                for (int i = 0; i < sums.length; i++) {
                    sums[i] += sign * statement.figures[i];
                }
                totals.put(area, bytes(sums));
            }
        }
    }

    private static final byte SCHEMA_OF_UPDATES = Byte.parseByte(System.getProperty("schema.id"));

    private record Statement(long stated, List<String> areas, long[] figures) {
        static final Statement NONE = new Statement(Long.MIN_VALUE, List.of(), new long[0]);

        static Statement of(byte[] held) {
            java.nio.ByteBuffer in = java.nio.ByteBuffer.wrap(held);
            long stated = in.getLong();
            byte[] areas = new byte[in.getInt()];
            in.get(areas);
            byte[] rest = new byte[in.remaining()];
            in.get(rest);
            return new Statement(stated, List.of(new String(areas).split(",")), numbers(rest));
        }

        byte[] bytes() {
            byte[] joined = String.join(",", areas).getBytes();
            java.nio.ByteBuffer out = java.nio.ByteBuffer.allocate(12 + joined.length + 8 * figures.length);
            out.putLong(stated).putInt(joined.length).put(joined).put(Totals.bytes(figures));
            return out.array();
        }
    }

    private static long number(Object value) {
        return value == null ? 0 : (Long) value;
    }

    private static long[] numbers(byte[] bytes) {
        long[] numbers = new long[bytes.length / 8];
        java.nio.ByteBuffer.wrap(bytes).asLongBuffer().get(numbers);
        return numbers;
    }

    private static byte[] bytes(long[] numbers) {
        java.nio.ByteBuffer out = java.nio.ByteBuffer.allocate(8 * numbers.length);
        out.asLongBuffer().put(numbers);
        return out.array();
    }
}
