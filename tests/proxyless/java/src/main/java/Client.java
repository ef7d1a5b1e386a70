import io.grpc.CallOptions;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/**
 * Calls a target again and again, and prints what came of each call: the counterpart of
 * ../client.py in Java, with the same arguments and the same lines.
 */
public class Client {
  private static final long PAUSE = 5;

  private static final MethodDescriptor.Marshaller<byte[]> PLAIN =
      new MethodDescriptor.Marshaller<>() {
        @Override
        public InputStream stream(byte[] value) {
          return new ByteArrayInputStream(value);
        }

        @Override
        public byte[] parse(InputStream stream) {
          try {
            return stream.readAllBytes();
          } catch (IOException error) {
            throw new IllegalStateException(error);
          }
        }
      };

  private static final MethodDescriptor<byte[], byte[]> METHOD =
      MethodDescriptor.newBuilder(PLAIN, PLAIN)
          .setType(MethodDescriptor.MethodType.UNARY)
          .setFullMethodName("plimsoll.test.Embedder/Embed")
          .build();

  public static void main(String[] arguments) throws InterruptedException {
    ManagedChannel channel =
        Grpc.newChannelBuilder(arguments[0], InsecureChannelCredentials.create()).build();
    Semaphore inFlight = new Semaphore(Integer.parseInt(arguments[1]));
    while (true) {
      inFlight.acquire();
      ClientCalls.asyncUnaryCall(
          channel.newCall(METHOD, CallOptions.DEFAULT.withDeadlineAfter(30, TimeUnit.SECONDS)),
          "a text".getBytes(StandardCharsets.UTF_8),
          new StreamObserver<byte[]>() {
            @Override
            public void onNext(byte[] answer) {
              System.out.println(new String(answer, StandardCharsets.UTF_8));
            }

            @Override
            public void onError(Throwable error) {
              Status status = Status.fromThrowable(error);
              String why = String.valueOf(status.getDescription()).replace('\n', ' ');
              System.out.println(status.getCode() + " " + why);
              inFlight.release();
            }

            @Override
            public void onCompleted() {
              inFlight.release();
            }
          });
      Thread.sleep(PAUSE);
    }
  }
}
