import escrutinio.AggregatorStatus;
import escrutinio.AreaCount;
import escrutinio.Cause;
import escrutinio.CountState;
import escrutinio.IngestStatus;
import escrutinio.Notice;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.avro.Schema;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.specific.SpecificData;
import org.apache.avro.specific.SpecificDatumReader;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A subscriber: the totals of a contest and of the areas directly in it, what is to report, and whether the feed lives.
 *
 * <p>{@code java -cp 'classes:jars/*' Subscriber newsroom-demo.properties http://127.0.0.1:28081 pe-2021-president-runoff}
 */
public class Subscriber {
    private static final TopicPartition TOTALS = new TopicPartition("results.totals", 0);
    private static final TopicPartition INGEST = new TopicPartition("results.ingest-status", 0);
    private static final TopicPartition COUNT = new TopicPartition("results.count-status", 0);
    private static final Map<Integer, Schema> SCHEMAS = new HashMap<>();
    private static String registry, contest;

    private final Map<String, AreaCount> totals = new TreeMap<>();
    private boolean isLive;
    private final Life ingest = new Life("ingest"), count = new Life("the count");

    public static void main(String[] arguments) throws Exception {
        System.setProperty("org.apache.avro.SERIALIZABLE_PACKAGES", "escrutinio"); // Avro fills no class that nobody trusts
        Properties access = access(Path.of(arguments[0]));
        registry = arguments[1];
        contest = arguments[2];
        Subscriber subscriber = new Subscriber();
        Thread main = Thread.currentThread();
        try (var states = new KafkaConsumer<byte[], byte[]>(access);
                var notices = new KafkaConsumer<byte[], byte[]>(access)) {
            Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                states.wakeup();
                notices.wakeup();
                try {
                    main.join(); // until the group is left: who comes next goes on at once
                } catch (InterruptedException end) {
                    return;
                }
            }));
            states.assign(List.of(TOTALS, INGEST, COUNT));
            states.seekToBeginning(List.of(TOTALS));
            states.seekToEnd(List.of(INGEST, COUNT));
            notices.subscribe(List.of("results.notices"));
            while (true) {
                for (var message : states.poll(Duration.ofMillis(100))) {
                    if (message.topic().equals(TOTALS.topic())) {
                        subscriber.onTotal(read(message.value(), AreaCount.class));
                    } else if (message.topic().equals(INGEST.topic())) {
                        subscriber.onSign(read(message.value(), IngestStatus.class));
                    } else {
                        subscriber.onSign(read(message.value(), AggregatorStatus.class));
                    }
                }
                subscriber.caughtUp(states.currentLag(TOTALS).orElse(1) == 0);
                for (var message : notices.poll(Duration.ofMillis(100))) {
                    subscriber.onNotice(read(message.value(), Notice.class));
                    var next = new OffsetAndMetadata(message.offset() + 1);
                    notices.commitSync(Map.of(new TopicPartition(message.topic(), message.partition()), next));
                }
                subscriber.ingest.onTime();
                subscriber.count.onTime();
            }
        } catch (WakeupException end) {
            return;
        }
    }

    /** The last count of each area holds, whatever is sent again. */
    void onTotal(AreaCount row) {
        if (!row.getContestId().equals(contest) || row.getAreaPath().size() > 2) {
            return;
        }
        AreaCount before = totals.get(row.getAreaId());
        if (before != null && (row.getAsOfOffset() < before.getAsOfOffset() || row.getEventId().equals(before.getEventId()))) {
            return;
        }
        totals.put(row.getAreaId(), row);
        if (isLive) {
            tell(row, before);
        }
    }

    void caughtUp(boolean isAtTheEnd) {
        if (!isLive && isAtTheEnd && !totals.isEmpty()) {
            isLive = true;
            totals.values().forEach(row -> tell(row, null));
        }
    }

    /** A count; and what changed and why, where it follows the one that was printed before. Null is not zero. */
    void tell(AreaCount row, AreaCount before) {
        Instant at = row.getAsOfReportedAt() != null ? row.getAsOfReportedAt() : row.getAsOfRecordedAt();
        String votes = row.getSelections().stream()
                .map(s -> s.getSelectionId() + " " + (s.getVotes() != null ? s.getVotes() : "not stated")
                        + (row.getStatedBy().containsKey("votes." + s.getSelectionId()) ? " (stated by some)" : ""))
                .collect(Collectors.joining(", "));
        String counted = row.getPercentCounted() != null ? row.getPercentCounted() : "?";
        String said = row.getState() == CountState.COUNTED
                ? votes + "; " + counted + " % counted"
                : row.getState() + ", " + (row.getReason() != null ? row.getReason() : "");
        say("TOTAL " + row.getAreaId() + " as of " + at + " (" + row.getAsOfOffset() + "): " + said, row.getIsTest());
        if (before != null && before.getEventId().equals(row.getPreviousEventId())) {
            why(row.getChange(), row.getEvents(), row.getIsTest());
        }
    }

    void onNotice(Notice notice) {
        if (notice.getContestId().equals(contest)) {
            say("NOTICE " + notice.getKind() + ": " + notice.getSentence(), notice.getIsTest());
            why(notice.getChange(), notice.getEvents(), notice.getIsTest());
        }
    }

    void why(Map<String, Long> change, List<Cause> events, boolean isTest) {
        new TreeMap<>(change).forEach((name, by) -> say(String.format("  %s %+d", name, by), isTest));
        for (Cause event : events) {
            if (event.getReason() != null) { // of a correction, a retraction
                say("  " + event.getKind() + " " + event.getUnit() + ": " + event.getReason(), isTest);
            }
        }
    }

    void onSign(IngestStatus sign) {
        if (sign.getContestId().equals(contest)) {
            ingest.hear(sign.getNextWithinMs(), sign.getFault() != null ? sign.getFault() : "alive");
        }
    }

    /** The count is behind where it lacks what was on the log at the sign before. */
    void onSign(AggregatorStatus sign) {
        if (sign.getContestId().equals(contest)) {
            String now = sign.getNextOffset() < count.end ? "behind the log" : "alive";
            count.hear(sign.getNextWithinMs(), sign.getBlocked() != null ? sign.getBlocked() : now);
            count.end = sign.getEndOffset() != null ? sign.getEndOffset() : count.end;
        }
    }

    /** What is known of those who say that they live. No message says that one is dead: its signs fail to come. */
    static class Life {
        final String who;
        String is = "";
        long end;
        Instant silentAt = Instant.now().plusSeconds(10);

        Life(String who) {
            this.who = who;
        }

        void hear(long nextWithinMs, String now) {
            silentAt = Instant.now().plusMillis(2 * nextWithinMs);
            if (!now.equals(is)) {
                is = now;
                say(who.toUpperCase() + ": " + now, false);
            }
        }

        void onTime() {
            if (!is.equals("dead") && Instant.now().isAfter(silentAt)) {
                is = "dead";
                say("DEAD: " + who + ", or its way to the broker; the figures are no longer new", false);
            }
        }
    }

    /** Texts of others may have invisible characters. */
    static void say(String line, boolean isTest) {
        System.out.println((isTest ? "TEST, no result: " : "") + line.replaceAll("[\\p{C}\\p{Zl}\\p{Zp}]", "?"));
    }

    /** Reads, into a class of the release that was built with, a message that this or any other release has written. */
    static <T extends SpecificRecord> T read(byte[] value, Class<T> type) throws IOException {
        int id = ByteBuffer.wrap(value).getInt(1);
        if (!SCHEMAS.containsKey(id)) {
            try (InputStream text = URI.create(registry + "/schemas/ids/" + id + "/schema").toURL().openStream()) {
                SCHEMAS.put(id, new Schema.Parser().parse(text));
            }
        }
        SpecificData model = SpecificData.getForClass(type);
        var reader = new SpecificDatumReader<T>(SCHEMAS.get(id), model.getSchema(type), model);
        return reader.read(null, DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, null));
    }

    /** The settings of a newsroom's access file; the certificate lies beside it. */
    static Properties access(Path file) throws IOException {
        Properties given = new Properties(), settings = new Properties();
        try (InputStream text = Files.newInputStream(file)) {
            given.load(text);
        }
        for (String name : List.of("bootstrap.servers", "security.protocol", "sasl.mechanism")) {
            settings.put(name, given.get(name));
        }
        settings.put("sasl.jaas.config", String.format(
                "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"%s\" password=\"%s\";",
                given.get("sasl.username"), given.get("sasl.password")));
        settings.put("ssl.truststore.type", "PEM");
        settings.put("ssl.truststore.location", file.resolveSibling(given.getProperty("ssl.ca.location")).toString());
        settings.put("group.id", given.get("sasl.username") + ".desk");
        settings.put("session.timeout.ms", "10000"); // after a crash: how long the next one waits for notices
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest");
        settings.put("key.deserializer", ByteArrayDeserializer.class);
        settings.put("value.deserializer", ByteArrayDeserializer.class);
        return settings;
    }
}
