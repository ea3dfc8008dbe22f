package io.github.qupathsam.client;

import com.google.protobuf.ByteString;
import io.github.qupathsam.v1.Box;
import io.github.qupathsam.v1.ClickLabel;
import io.github.qupathsam.v1.Effort;
import io.github.qupathsam.v1.EmbedMode;
import io.github.qupathsam.v1.EmbedRequest;
import io.github.qupathsam.v1.EmbedResponse;
import io.github.qupathsam.v1.EmbeddingSource;
import io.github.qupathsam.v1.GetCapabilitiesResponse;
import io.github.qupathsam.v1.GridOptions;
import io.github.qupathsam.v1.ImageRef;
import io.github.qupathsam.v1.MaskChoice;
import io.github.qupathsam.v1.ModelInfo;
import io.github.qupathsam.v1.ObjectFilter;
import io.github.qupathsam.v1.ObjectPrompts;
import io.github.qupathsam.v1.ObjectResult;
import io.github.qupathsam.v1.OutputOptions;
import io.github.qupathsam.v1.Priority;
import io.github.qupathsam.v1.ObjectKind;
import io.github.qupathsam.v1.Prompting;
import io.github.qupathsam.v1.PredictRequest;
import io.github.qupathsam.v1.PredictResponse;
import io.github.qupathsam.v1.RefusalReason;
import io.github.qupathsam.v1.Region;
import io.github.qupathsam.v1.RegionObject;
import io.github.qupathsam.v1.SegmentRegionRequest;
import io.github.qupathsam.v1.SegmentedMask;
import io.github.qupathsam.v1.WindowOptions;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Between this package's values and the protocol's messages. */
final class Messages {
    private Messages() {}

    static PredictRequest predict(ImageRef image, List<Prompts> objects, PredictOptions options, Settings settings) {
        return predict(image, objects, options, null, settings);
    }

    static PredictRequest predict(
            ImageRef image, List<Prompts> objects, PredictOptions options, RefineOptions refine, Settings settings) {
        PredictRequest.Builder request = PredictRequest.newBuilder()
                .setImage(image)
                .setModel(model(options, settings))
                .setWindow(window(options))
                .setOutput(output(options))
                .setPriority(options.batch() ? Priority.PRIORITY_BATCH : Priority.PRIORITY_INTERACTIVE);
        objects.forEach(prompts -> request.addObjects(prompts(prompts)));
        if (refine != null) {
            request.setRefine(refine(refine));
        }
        return request.build();
    }

    private static io.github.qupathsam.v1.RefineOptions refine(RefineOptions options) {
        var message = io.github.qupathsam.v1.RefineOptions.newBuilder();
        if (!options.point()) {
            message.setInteriorPoints(0);
        }
        if (options.minIoU() != null) {
            message.setMinIou(options.minIoU());
        }
        if (options.minPartIoU() != null) {
            message.setMinPartIou(options.minPartIoU());
        }
        if (options.maxAreaChange() != null) {
            message.setMaxAreaChange(options.maxAreaChange());
        }
        if (options.minScore() != null) {
            message.setMinScore(options.minScore());
        }
        if (options.boxMargin() != null) {
            message.setBoxMargin(options.boxMargin());
        }
        if (options.anySize()) {
            message.setCoarsestMpp(0);
        }
        message.setAlongBorder(options.alongBorder());
        message.setRemember(options.remember());
        return message.build();
    }

    /** Asks for the windows in view to be encoded in the background. */
    static EmbedRequest embed(
            ImageRef image, PixelRegion view, Point focus, PredictOptions options, Settings settings) {
        EmbedRequest.Builder request = EmbedRequest.newBuilder()
                .setImage(image)
                .setModel(model(options, settings))
                .setWindow(window(options))
                .setView(region(view))
                .setMode(EmbedMode.EMBED_MODE_START);
        if (focus != null) {
            request.setFocus(point(focus));
        }
        return request.build();
    }

    static Region region(PixelRegion region) {
        return Region.newBuilder()
                .setX(region.x())
                .setY(region.y())
                .setWidth(region.width())
                .setHeight(region.height())
                .build();
    }

    /** Without the image. */
    static SegmentRegionRequest region(byte[] outline, List<Example> examples, RegionOptions options, Settings settings) {
        SegmentRegionRequest.Builder request = SegmentRegionRequest.newBuilder()
                .setModel(options.model().isEmpty() ? settings.model() : options.model())
                .setClip(options.cut())
                .setPrompting(examples.isEmpty() ? prompting(options) : Prompting.PROMPTING_LIKE)
                .setObjects(options.objects() == RegionOptions.ObjectKind.GLANDS ? ObjectKind.OBJECT_KIND_GLANDS : ObjectKind.OBJECT_KIND_NUCLEI)
                .setEffort(options.effort() == RegionOptions.Effort.FAST ? Effort.EFFORT_FAST : Effort.EFFORT_BEST)
                .setGrid(grid(options))
                .setOutput(OutputOptions.newBuilder()
                        .setFillHolesArea(options.fillHoles())
                        .setSimplifyTolerance(options.simplify()))
                .setFilter(filter(options))
                .setSearchBackground(options.searchBackground());
        if (outline != null) {
            request.setOutlineWkb(ByteString.copyFrom(outline));
        }
        examples.forEach(example -> request.addExamples(example(example)));
        if (options.minLikeness() != null) {
            request.setLikeThreshold(options.minLikeness());
        }
        if (options.downsample() > 0) {
            request.setDownsample(options.downsample());
        } else if (options.mpp() > 0) {
            request.setMpp(options.mpp());
        }
        return request.build();
    }

    private static Prompting prompting(RegionOptions options) {
        return switch (options.prompting()) {
            case ANY -> Prompting.PROMPTING_UNSPECIFIED;
            case GRID -> Prompting.PROMPTING_GRID;
            case AUTOMATIC -> Prompting.PROMPTING_AUTOMATIC;
        };
    }

    private static GridOptions grid(RegionOptions options) {
        GridOptions.Builder grid = GridOptions.newBuilder();
        if (options.spacing() != null) {
            grid.setSpacing(options.spacing());
        }
        if (options.minStability() != null) {
            grid.setMinStability(options.minStability());
        }
        return grid.build();
    }

    private static ObjectFilter filter(RegionOptions options) {
        ObjectFilter.Builder filter = ObjectFilter.newBuilder()
                .setMinArea(options.minObjectArea())
                .setMaxArea(options.maxObjectArea())
                .setLeaveOutBorder(options.leaveOutBorder());
        if (options.minScore() != null) {
            filter.setMinScore(options.minScore());
        }
        return filter.build();
    }

    private static io.github.qupathsam.v1.Example example(Example example) {
        var message = io.github.qupathsam.v1.Example.newBuilder()
                .setLabel(example.positive() ? ClickLabel.CLICK_LABEL_POSITIVE : ClickLabel.CLICK_LABEL_NEGATIVE);
        if (example.outline() != null) {
            message.setOutlineWkb(ByteString.copyFrom(example.outline()));
        } else {
            message.setPoint(point(example.click()));
        }
        return message.build();
    }

    static RegionAnswer.Found found(RegionObject object) {
        return new RegionAnswer.Found(
                mask(object.getMask()),
                new Point(object.getPoint().getX(), object.getPoint().getY()),
                object.getIsCut(),
                object.hasLikeness() ? object.getLikeness() : Double.NaN);
    }

    static RegionProgress progress(io.github.qupathsam.v1.RegionProgress progress) {
        return new RegionProgress(
                progress.getTilesDone(),
                progress.getTilesTotal(),
                progress.getTilesSkipped(),
                progress.getObjects(),
                progress.getTooLarge(),
                progress.hasSecondsLeft() ? progress.getSecondsLeft() : Double.NaN);
    }

    /** @throws SamException where it is not the answer to so many objects */
    static SamPrediction prediction(PredictResponse response, int objects) {
        if (response.getResultsCount() != objects) {
            throw new SamException(
                    FailureReason.INTERNAL,
                    "the server has answered " + response.getResultsCount() + " of " + objects + " objects; "
                            + FailureReason.INTERNAL.advice());
        }
        return new SamPrediction(
                response.getResultsList().stream().map(Messages::result).toList(),
                provenance(response.getProvenance()),
                response.getTimings().getTotalMs(),
                response.getTimings().getEncodeMs());
    }

    static List<EmbeddedWindow> windows(EmbedResponse response) {
        return response.getEmbeddingsList().stream()
                .map(status -> new EmbeddedWindow(
                        region(status.getWindow().getRegion()), status.getWindow().getDownsample(), status.getReady()))
                .toList();
    }

    static Capabilities capabilities(GetCapabilitiesResponse response) {
        return new Capabilities(
                response.getServerVersion(),
                response.getProtocolVersion(),
                response.getDefaultModel(),
                response.getDevice(),
                response.getMaxMessageBytes(),
                response.getMaxObjects(),
                response.getMaxPushedPixels(),
                response.getReadsSlides());
    }

    static SamModel model(ModelInfo info) {
        return new SamModel(
                info.getName(),
                info.getTitle(),
                info.getLicence(),
                info.getTakesPoints(),
                info.getTakesBoxes(),
                info.getTakesMaskPrompt(),
                info.getLoaded(),
                info.getAvailable());
    }

    private static String model(PredictOptions options, Settings settings) {
        return options.model().isEmpty() ? settings.model() : options.model();
    }

    private static ObjectPrompts prompts(Prompts prompts) {
        ObjectPrompts.Builder message = ObjectPrompts.newBuilder()
                .setObjectId(prompts.name())
                .setToken(ByteString.copyFrom(prompts.token()));
        for (Click click : prompts.clicks()) {
            io.github.qupathsam.v1.Click.Builder one = io.github.qupathsam.v1.Click.newBuilder()
                    .setLabel(click.positive() ? ClickLabel.CLICK_LABEL_POSITIVE : ClickLabel.CLICK_LABEL_NEGATIVE);
            click.points().forEach(place -> one.addPoints(point(place)));
            if (click.fromMask() != Click.FROM_BEST) {
                one.setFromMask(click.fromMask());
            }
            one.setSameStep(click.sameStep());
            message.addClicks(one);
        }
        double[] box = prompts.box();
        if (box != null) {
            message.setBox(Box.newBuilder().setMinX(box[0]).setMinY(box[1]).setMaxX(box[2]).setMaxY(box[3]));
        }
        if (prompts.outline() != null) {
            message.setOutlineWkb(ByteString.copyFrom(prompts.outline()));
        }
        return message.build();
    }

    private static io.github.qupathsam.v1.Point point(Point point) {
        return io.github.qupathsam.v1.Point.newBuilder()
                .setX(point.x())
                .setY(point.y())
                .build();
    }

    private static WindowOptions window(PredictOptions options) {
        WindowOptions.Builder window = WindowOptions.newBuilder()
                .setViewDownsample(options.viewDownsample())
                .setPreferEmbedded(options.preferEmbedded())
                .setCloserLook(options.closerLook());
        if (options.downsample() > 0) {
            window.setDownsample(options.downsample());
        } else if (options.mpp() > 0) {
            window.setMpp(options.mpp());
        }
        return window.build();
    }

    private static OutputOptions output(PredictOptions options) {
        MaskChoice choice = switch (options.choice()) {
            case BEST -> MaskChoice.MASK_CHOICE_BEST;
            case ALL -> MaskChoice.MASK_CHOICE_ALL;
            case LARGEST -> MaskChoice.MASK_CHOICE_LARGEST;
            case SMALLEST -> MaskChoice.MASK_CHOICE_SMALLEST;
        };
        return OutputOptions.newBuilder()
                .setMaskChoice(choice)
                .setFillHolesArea(options.fillHoles())
                .setMinArea(options.minArea())
                .setSimplifyTolerance(options.simplify())
                .setClipWkb(ByteString.copyFrom(options.clip()))
                .setCleanShare(options.clean())
                .setKeepParts(options.keepParts())
                .build();
    }

    private static SamResult result(ObjectResult result) {
        return new SamResult(
                result.getObjectId(),
                result.getMasksList().stream().map(Messages::mask).toList(),
                result.hasWindow() ? region(result.getWindow().getRegion()) : null,
                result.getWindow().getDownsample(),
                result.getTouchesWindowEdge(),
                result.getToken().toByteArray(),
                result.getResumedSteps(),
                source(result.getEmbeddingSource()),
                doubts(result),
                result.hasRefinement() ? refusal(result.getRefinement()) : null,
                result.getRefinement().getRefusal() == RefusalReason.REFUSAL_REASON_LARGER_THAN_WINDOW);
    }

    /** Those that this client does not know are left out. */
    private static List<Doubt> doubts(ObjectResult result) {
        List<Doubt> doubts = new ArrayList<>();
        for (io.github.qupathsam.v1.Doubt doubt : result.getDoubtsList()) {
            switch (doubt) {
                case DOUBT_LOW_SCORE -> doubts.add(Doubt.LOW_SCORE);
                case DOUBT_LARGE -> doubts.add(Doubt.LARGE);
                case DOUBT_BACKGROUND -> doubts.add(Doubt.BACKGROUND);
                default -> {}
            }
        }
        return List.copyOf(doubts);
    }

    /** For people; a reason that this client does not know has its text all the same. */
    private static String refusal(io.github.qupathsam.v1.Refinement refinement) {
        boolean isTaken = refinement.getRefusal() == RefusalReason.REFUSAL_REASON_UNSPECIFIED;
        return isTaken ? "" : refinement.getRefusalText().isEmpty() ? "refused" : refinement.getRefusalText();
    }

    private static SamMask mask(SegmentedMask mask) {
        return new SamMask(
                mask.getGeometryWkb().toByteArray(),
                mask.getScore(),
                mask.getAreaPx2(),
                mask.hasAreaUm2() ? mask.getAreaUm2() : Double.NaN,
                mask.getMaskIndex(),
                mask.hasWindow() ? region(mask.getWindow().getRegion()) : null,
                mask.getWindow().getDownsample());
    }

    private static PixelRegion region(Region region) {
        return new PixelRegion(region.getX(), region.getY(), region.getWidth(), region.getHeight());
    }

    static Provenance provenance(io.github.qupathsam.v1.Provenance made) {
        return new Provenance(
                made.getModel(),
                made.getWeightsSha256(),
                made.getPreprocessingVersion(),
                made.getServerVersion(),
                made.getImageFingerprint(),
                made.getPixelSource(),
                made.getDevice(),
                made.hasMpp() ? made.getMpp() : Double.NaN,
                List.copyOf(made.getRemarksList()));
    }

    private static String source(EmbeddingSource source) {
        return switch (source) {
            case EMBEDDING_SOURCE_MEMORY, EMBEDDING_SOURCE_DISK, EMBEDDING_SOURCE_COMPUTED, EMBEDDING_SOURCE_SHARED ->
                    source.name().substring("EMBEDDING_SOURCE_".length()).toLowerCase(Locale.ROOT);
            default -> "";
        };
    }
}
