import java.io.File;
import org.apache.avro.Schema;
import org.apache.avro.compiler.specific.SpecificCompiler;
import org.apache.avro.generic.GenericData.StringType;

/** Writes the classes of schemas: {@code java -cp 'jars/*' Generate.java generated schemas/area_count.v1.avsc …} */
public class Generate {
    public static void main(String[] arguments) throws Exception {
        for (int i = 1; i < arguments.length; i++) {
            SpecificCompiler compiler = new SpecificCompiler(new Schema.Parser().parse(new File(arguments[i])));
            compiler.setStringType(StringType.String);
            compiler.compileToDestination(null, new File(arguments[0]));
        }
    }
}
